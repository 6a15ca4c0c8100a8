//! Real Postgres servers for tests: a primary, standbys of it, and ways to hurt them.

use std::{
    fs::{self, File},
    io::Write,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// One server. Dropping it stops the processes and removes the files.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    process: Option<Child>,
}

impl Server {
    /// A fresh primary; `settings` are lines for postgresql.conf.
    pub(crate) async fn primary(settings: &str) -> Self {
        let mut server = Self::prepare();
        run(program("initdb")
            .args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8"])
            .arg("-D")
            .arg(server.data()));
        server.append("pg_hba.conf", "host replication all 127.0.0.1/32 trust\n");
        server.append("postgresql.conf", &format!("fsync = off\nunix_socket_directories = ''\n{settings}\n"));
        server.start().await;
        server
    }

    /// A standby that streams from this one.
    pub(crate) async fn standby(&self) -> Self {
        let mut standby = Self::prepare();
        let port = self.port.to_string();
        run(program("pg_basebackup")
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-p",
                &port,
                "-R",
                "-X",
                "stream",
                "-c",
                "fast",
                "--no-sync",
            ])
            .arg("-D")
            .arg(standby.data()));
        standby.start().await;
        standby
    }

    fn prepare() -> Self {
        let directory = TempDir::with_prefix("residency-postgres-").expect("a temporary directory");
        if let Some((uid, gid)) = postgres_user() {
            chown(directory.path(), Some(uid), Some(gid)).expect("root may");
        }
        Self { directory, port: free_port(), process: None }
    }

    pub(crate) async fn start(&mut self) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join("log"))
            .expect("a log file");
        let mut command = program("postgres");
        command.arg("-D").arg(self.data()).args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        self.process = Some(command.stderr(log).spawn().expect("postgres starts"));
        for _ in 0..600 {
            if tokio_postgres::connect(&self.url("postgres"), NoTls).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!(
            "no answer; its log:\n{}",
            fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
        );
    }

    /// `kill -9`, the postmaster first, so that nothing is flushed or told to clients.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().expect("running");
        let children = children_of(process.id());
        process.kill().expect("ours to kill");
        for child in children {
            signal("KILL", child);
        }
        process.wait().expect("ours to wait for");
        // Or the next start takes it for a running server.
        let _ = fs::remove_file(self.data().join("postmaster.pid"));
    }

    /// Makes a standby a primary of its own; back when it is one.
    pub(crate) async fn promote(&self) {
        let promoted = self.sql(&["SELECT pg_promote(true, 60)"]).await;
        assert_eq!(promoted.as_deref(), Some("t"));
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self, user: &str) -> String {
        format!("postgres://{user}@127.0.0.1:{}/postgres", self.port)
    }

    /// Runs statements as the superuser, each on its own; the first column of the last row.
    pub(crate) async fn sql(&self, statements: &[&str]) -> Option<String> {
        let client = self.session().await;
        let mut last = None;
        for statement in statements {
            for message in client.simple_query(statement).await.expect(statement) {
                if let SimpleQueryMessage::Row(row) = message {
                    last = row.get(0).map(str::to_owned);
                }
            }
        }
        last
    }

    /// A session of the superuser's own.
    pub(crate) async fn session(&self) -> tokio_postgres::Client {
        let (client, connection) =
            tokio_postgres::connect(&self.url("postgres"), NoTls).await.expect("it answers");
        tokio::spawn(connection);
        client
    }

    /// Writes a file into the data directory that only the server may read.
    pub(crate) fn private_file(&self, name: &str, content: &str) {
        let path = self.data().join(name);
        fs::write(&path, content).expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        if let Some((uid, gid)) = postgres_user() {
            chown(&path, Some(uid), Some(gid)).expect("root may");
        }
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = File::options().append(true).open(self.data().join(name)).expect("made by initdb");
        file.write_all(text.as_bytes()).expect("writable");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Immediate shutdown: the postmaster ends its children, stopped ones included, before itself.
            signal("QUIT", process.id());
            let _ = process.wait();
        }
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(name: &str, process: u32) {
    let status = Command::new("kill").args(["-s", name, &process.to_string()]).stderr(Stdio::null()).status();
    status.expect("kill is there");
}

fn children_of(parent: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|child| child.parse().ok()).collect()
}

/// A Postgres program, to be run as `postgres` when this is root: the server refuses root.
fn program(name: &str) -> Command {
    let mut command = Command::new(binaries().join(name));
    command.stdin(Stdio::null()).stdout(Stdio::null()).current_dir("/").env_remove("PGPASSWORD");
    if let Some((uid, gid)) = postgres_user() {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("Postgres programs can be run");
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}

/// Where the newest server's programs are: Debian's directories, or PATH.
fn binaries() -> PathBuf {
    let installed =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path());
    let mut versions: Vec<_> = installed
        .filter_map(|path| Some((path.file_name()?.to_str()?.parse::<u32>().ok()?, path.join("bin"))))
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    versions.sort();
    let in_path = || {
        let output = Command::new("pg_config").arg("--bindir").output().ok()?;
        let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
        path.join("initdb").exists().then_some(path)
    };
    let found = versions.pop().map(|(_, path)| path).or_else(in_path);
    found.expect("these tests need a Postgres server's programs (package `postgresql`)")
}

/// The user and group to run servers as, when this process is root.
fn postgres_user() -> Option<(u32, u32)> {
    if fs::metadata("/proc/self").expect("Linux").uid() != 0 {
        return None;
    }
    let users = fs::read_to_string(Path::new("/etc/passwd")).expect("readable");
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields
        .filter(|user| user[0] == "postgres")
        .find_map(|user| Some((user[2].parse().ok()?, user[3].parse().ok()?)));
    Some(found.expect("user `postgres` comes with the server's package"))
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}
