//! Looks in, changes out; and what counts as the same content.

use std::fs;
use std::os::unix::fs::symlink;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::config::Environment;

const CONFIG: &str = "region = 'here'\nupstream = '127.0.0.1:3000'\nserves = ['us']\ninternal_tls = 'dir:pki'\n\
    [token]\njwks = 'file:jwks.json'\nissuer = 'a'\naudience = 'b'\n\
    [tls]\ncertificate = 'file:chain.pem'\nkey = 'file:key.pem'\n\
    [[tls.certificates]]\ncertificate = 'file:other.pem'\nkey = 'file:other.key'\n";

/// A directory with all files of one configuration.
struct Scene {
    directory: TempDir,
    files: WatchedFiles,
}

impl Scene {
    fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("residency.toml");
        fs::create_dir(directory.path().join("pki")).unwrap();
        fs::write(&path, CONFIG).unwrap();
        let names = ["chain.pem", "key.pem", "other.pem", "other.key", "jwks.json"];
        let pki = ["pki/ca.crt", "pki/here.crt", "pki/here.key"];
        for name in names.into_iter().chain(pki) {
            fs::write(directory.path().join(name), name).unwrap();
        }
        let before = Sight::of(&path);
        let config = Self::config(&path);
        Self { files: WatchedFiles::of(&path, before, &config), directory }
    }

    fn config(path: &Path) -> Config {
        Config::load(path, &Environment::default()).unwrap_or_else(|errors| panic!("{errors}")).config
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// One look; groups and file names.
    fn look(&mut self) -> Vec<(Group, Vec<String>)> {
        let sights: Vec<_> = self.files.paths().iter().map(|path| Sight::of(path)).collect();
        let changes = self.files.changes(&sights).into_iter();
        let name = |path: PathBuf| path.strip_prefix(self.directory.path()).unwrap().display().to_string();
        changes.map(|change| (change.group, change.files.into_iter().map(name).collect())).collect()
    }

    /// What two looks find.
    fn settle(&mut self) -> Vec<(Group, Vec<String>)> {
        assert_eq!(self.look(), [], "one look is not enough");
        self.look()
    }
}

#[test]
fn each_file_belongs_to_what_is_read_with_it() {
    let table: [(&str, Group); 9] = [
        ("residency.toml", Group::Configuration),
        ("chain.pem", Group::Public),
        ("key.pem", Group::Public),
        ("other.pem", Group::Public),
        ("other.key", Group::Public),
        ("pki/ca.crt", Group::Internal),
        ("pki/here.crt", Group::Internal),
        ("pki/here.key", Group::Internal),
        ("jwks.json", Group::Jwks(0)),
    ];
    for (name, group) in table {
        let mut scene = Scene::new();
        assert_eq!(scene.settle(), []);
        scene.write(name, "something else");
        assert_eq!(scene.settle(), [(group, vec![name.to_owned()])]);
        assert_eq!(scene.settle(), [], "it is told once");
    }
}

#[test]
fn what_still_changes_is_left_alone() {
    let mut scene = Scene::new();
    for half in ["a", "ab", "abc"] {
        scene.write("chain.pem", half);
        assert_eq!(scene.look(), []);
    }
    // The other half of the pair comes later: both are waited for.
    scene.write("key.pem", "d");
    assert_eq!(scene.look(), []);
    let both = vec!["chain.pem".to_owned(), "key.pem".to_owned()];
    assert_eq!(scene.look(), [(Group::Public, both)]);
    // And other files don't wait for these.
    scene.write("chain.pem", "e");
    scene.write("residency.toml", "f");
    assert_eq!(scene.look(), []);
    scene.write("chain.pem", "g");
    assert_eq!(scene.look(), [(Group::Configuration, vec!["residency.toml".to_owned()])]);
    // What is as it was has not changed, whatever it was in between.
    scene.write("chain.pem", "abc");
    assert_eq!(scene.settle(), []);
}

#[test]
fn every_way_to_replace_a_file_is_seen_and_touching_it_is_none() {
    let mut scene = Scene::new();
    let changed = |scene: &mut Scene| !scene.settle().is_empty();
    scene.write("chain.pem", "in place");
    assert!(changed(&mut scene));
    scene.write("next", "by rename");
    fs::rename(scene.path("next"), scene.path("chain.pem")).unwrap();
    assert!(changed(&mut scene));
    // As Kubernetes does: chain.pem → ..data/chain.pem, and ..data → a directory that is replaced.
    for version in ["v1", "v2"] {
        fs::create_dir(scene.path(version)).unwrap();
        scene.write(&format!("{version}/chain.pem"), version);
    }
    symlink("v1", scene.path("..data")).unwrap();
    fs::remove_file(scene.path("chain.pem")).unwrap();
    symlink("..data/chain.pem", scene.path("chain.pem")).unwrap();
    assert!(changed(&mut scene));
    symlink("v2", scene.path("..data_tmp")).unwrap();
    fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    assert!(changed(&mut scene));
    fs::remove_dir_all(scene.path("v2")).unwrap();
    assert!(changed(&mut scene), "it is gone");
    // The same content in another file with other times.
    symlink("v3", scene.path("..data_tmp")).unwrap();
    fs::create_dir(scene.path("v3")).unwrap();
    scene.write("v3/chain.pem", "v3");
    fs::rename(scene.path("..data_tmp"), scene.path("..data")).unwrap();
    assert!(changed(&mut scene));
    scene.write("next", "v3");
    fs::rename(scene.path("next"), scene.path("chain.pem")).unwrap();
    scene.write("key.pem", "key.pem");
    assert_eq!(scene.settle(), []);
}

#[test]
fn what_is_no_file_is_told_from_one_and_never_read() {
    let scene = Scene::new();
    assert_eq!(Sight::of(&scene.path("pki")), Sight::NoFile);
    assert_eq!(Sight::of(&scene.path("gone")), Sight::Unreadable(std::io::ErrorKind::NotFound));
    // Opening a pipe to which nobody writes would last for ever.
    let pipe = scene.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
    assert_eq!(Sight::of(&pipe), Sight::NoFile);
    let huge = fs::File::create(scene.path("huge")).unwrap();
    huge.set_len(1 << 30).unwrap();
    assert_eq!(Sight::of(&scene.path("huge")), Sight::TooLarge);
    assert_ne!(Sight::of(&scene.path("key.pem")), Sight::of(&scene.path("chain.pem")));
}

#[test]
fn a_refused_configuration_is_tried_again_when_what_it_wants_has_come() {
    let mut scene = Scene::new();
    let path = scene.path("residency.toml");
    scene.write("residency.toml", &CONFIG.replace("other", "new"));
    assert_eq!(scene.settle(), [(Group::Configuration, vec!["residency.toml".to_owned()])]);
    let config = Scene::config(&path);
    scene.files.refused(Sight::of(&path));
    scene.files.want(&config);
    assert_eq!(scene.settle(), []);
    scene.write("new.pem", "a");
    scene.write("new.key", "b");
    let both = vec!["new.pem".to_owned(), "new.key".to_owned()];
    assert_eq!(scene.settle(), [(Group::Wanted, both)]);
    // Those in service are followed as before.
    scene.write("other.pem", "c");
    assert_eq!(scene.settle(), [(Group::Public, vec!["other.pem".to_owned()])]);
    // Once it says something else, what it wanted doesn't count any more.
    scene.files.refused(Sight::of(&path));
    scene.write("new.pem", "d");
    assert_eq!(scene.settle(), []);
}

#[test]
fn what_is_written_while_it_is_read_is_found() {
    let scene = Scene::new();
    let path = scene.path("residency.toml");
    let before = Sight::of(&path);
    let config = Scene::config(&path);
    scene.write("residency.toml", "written in between");
    let files = WatchedFiles::of(&path, before, &config);
    let mut scene = Scene { files, ..scene };
    assert_eq!(scene.settle(), [(Group::Configuration, vec!["residency.toml".to_owned()])]);
}

proptest! {
    /// Against the rule in other words: a change is told exactly when the last two looks agree and differ from what was
    /// told, or known at the start.
    #[test]
    fn told_when_two_looks_agree_and_once(looks in prop::collection::vec(0_u8..3, 1..40)) {
        let sight = |content: u8| Sight::Content([content; 32]);
        let mut watched =
            Watched { group: Group::Public, paths: vec![PathBuf::from("a")], seen: vec![sight(0)], found: None };
        let (mut told, mut last) = (0, 0);
        for content in looks {
            let expected = content == last && content != told;
            prop_assert_eq!(watched.change(&[sight(content)]).is_some(), expected);
            if expected {
                told = content;
            }
            last = content;
        }
    }
}
