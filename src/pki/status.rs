//! `pki status`: every certificate, and what is wrong. Reads only; works on a gateway's share of the files, too.

use std::{fs, io::Write, os::unix::fs::PermissionsExt, path::Path};

use jiff::{SignedDuration, Timestamp};
use rcgen::{KeyPair, PublicKeyData};
use serde::Serialize;

use super::{
    PkiFault,
    authority::{BUNDLE, KEY},
    directory::{COMMIT, Directory},
    facts::Facts,
    holder::Holder,
};

/// Time to renew a certificate in, before it is called a problem.
const LEAF_SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// An authority with less than a certificate's life left cuts the lives of those it issues.
const AUTHORITY_SOON: SignedDuration = SignedDuration::from_hours(397 * 24);

/// The directory, as found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    certificates: Vec<Entry>,
    /// Of the directory as a whole.
    problems: Vec<String>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Entry {
    file: String,
    kind: Kind,
    #[serde(flatten)]
    details: Option<Details>,
    problems: Vec<String>,
}

#[derive(Debug, Serialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Authority,
    Gateway,
    Control,
}

#[derive(Debug, Serialize)]
struct Details {
    subject: String,
    names: Vec<String>,
    /// RFC 3339, UTC.
    not_before: String,
    not_after: String,
    /// Whole days; negative once expired.
    days_left: i64,
    fingerprint_sha256: String,
    issuer: String,
    /// Of the authority in `ca.crt` that issued it, if one did.
    issuer_fingerprint_sha256: Option<String>,
}

/// Looks at everything in `path`.
pub(super) fn inspect(path: &Path, now: Timestamp) -> Result<Report, PkiFault> {
    let directory = Directory::open_for_reading(path)?;
    let mut report = Report { certificates: Vec::new(), problems: Vec::new(), notes: Vec::new() };
    if directory.file(COMMIT).exists() {
        report
            .problems
            .push("a change was interrupted; the next `pki init` or `pki rotate` completes it".to_owned());
    }
    let authorities = inspect_authorities(&directory, &mut report, now)?;
    let holders = directory.holders(".crt")?;
    for holder in directory.holders(".key")? {
        if !holders.contains(&holder) {
            report.problems.push(format!("{holder}.key has no {holder}.crt"));
        }
    }
    for holder in &holders {
        let entry = inspect_holder(&directory, holder, &authorities, now)?;
        report.certificates.push(entry);
    }
    if !holders.iter().any(|holder| matches!(holder, Holder::Gateway(_))) {
        report.problems.push("no region has a certificate here".to_owned());
    }
    if authorities.len() > 1 {
        report.notes.push(
            "the authority is being replaced: once every gateway has loaded these files, `pki rotate --retire-old-ca`"
                .to_owned(),
        );
    }
    Ok(report)
}

fn inspect_authorities(
    directory: &Directory,
    report: &mut Report,
    now: Timestamp,
) -> Result<Vec<Facts>, PkiFault> {
    let Some(bundle) = directory.read(BUNDLE)? else {
        report.problems.push("ca.crt is missing: no gateway can be told from a stranger".to_owned());
        return Ok(Vec::new());
    };
    let authorities = match Facts::read_all(&bundle) {
        Ok(authorities) => authorities,
        Err(reason) => {
            report.problems.push(format!("ca.crt: {reason}"));
            return Ok(Vec::new());
        }
    };
    for (index, authority) in authorities.iter().enumerate() {
        // One that is being replaced may well be near its end.
        let soon = if index == 0 { AUTHORITY_SOON } else { SignedDuration::ZERO };
        report.certificates.push(Entry {
            file: BUNDLE.to_owned(),
            kind: Kind::Authority,
            details: Some(Details::of(authority, &authorities, now)),
            problems: expiry(authority, now, soon, "rotate --ca").into_iter().collect(),
        });
    }
    match directory.read(KEY)? {
        None => report.notes.push("ca.key is not here: as it should be on a gateway".to_owned()),
        Some(pem) => {
            let matches = |key: KeyPair| authorities.iter().any(|ca| ca.public_key == key.der_bytes());
            if !KeyPair::from_pem(&pem).is_ok_and(matches) {
                report.problems.push("ca.key is the key of no certificate in ca.crt".to_owned());
            }
            report.problems.extend(permissions(directory, KEY, 0o077)?);
        }
    }
    Ok(authorities)
}

fn inspect_holder(
    directory: &Directory,
    holder: &Holder,
    authorities: &[Facts],
    now: Timestamp,
) -> Result<Entry, PkiFault> {
    let (file, key) = (holder.certificate_file(), holder.key_file());
    let mut problems = Vec::new();
    let mut details = None;
    let mut leaf = None;
    match Facts::read_all(&directory.read(&file)?.unwrap_or_default()) {
        Err(reason) => problems.push(reason),
        Ok(mut chain) => {
            let certificate = chain.swap_remove(0);
            problems.extend(expiry(&certificate, now, LEAF_SOON, "rotate"));
            if !holder.is_named_by(&certificate.der) {
                problems.push(format!("does not name {} alone", holder.name()));
            }
            if !authorities.iter().any(|authority| certificate.issued_by(authority)) {
                problems.push("issued by no authority in ca.crt".to_owned());
            }
            details = Some(Details::of(&certificate, authorities, now));
            leaf = Some(certificate);
        }
    }
    match directory.read(&key)? {
        None => problems.push(format!("{key} is missing")),
        Some(pem) => {
            match KeyPair::from_pem(&pem) {
                Err(_) => problems.push(format!("{key} is not a private key of a known kind")),
                Ok(key_pair) if leaf.is_some_and(|leaf| leaf.public_key != key_pair.der_bytes()) => {
                    problems.push(format!("{key} is not this certificate's key"));
                }
                Ok(_) => {}
            }
            // A group may read it: the gateway's or the program's own, under which it runs.
            problems.extend(permissions(directory, &key, 0o037)?);
        }
    }
    let kind = match holder {
        Holder::Gateway(_) => Kind::Gateway,
        Holder::Control(_) => Kind::Control,
    };
    Ok(Entry { file, kind, details, problems })
}

fn expiry(certificate: &Facts, now: Timestamp, soon: SignedDuration, remedy: &str) -> Option<String> {
    if certificate.not_before > now {
        Some("not valid yet: check this machine's clock".to_owned())
    } else if certificate.not_after <= now {
        Some("expired".to_owned())
    } else if certificate.not_after < now + soon {
        Some(format!("expires soon: `pki {remedy}`"))
    } else {
        None
    }
}

fn permissions(directory: &Directory, name: &str, forbidden: u32) -> Result<Option<String>, PkiFault> {
    let path = directory.file(name);
    let metadata = fs::metadata(&path).map_err(|source| PkiFault::File { path, source })?;
    let mode = metadata.permissions().mode() & 0o777;
    Ok((mode & forbidden != 0)
        .then(|| format!("{name} is open to others (mode {mode:04o}): chmod {:04o}", mode & !forbidden)))
}

impl Details {
    fn of(certificate: &Facts, authorities: &[Facts], now: Timestamp) -> Self {
        let issuer = authorities.iter().find(|authority| certificate.issued_by(authority));
        Self {
            subject: certificate.subject.clone(),
            names: certificate.names.clone(),
            not_before: certificate.not_before.to_string(),
            not_after: certificate.not_after.to_string(),
            days_left: certificate.not_after.duration_since(now).as_secs().div_euclid(24 * 60 * 60),
            fingerprint_sha256: certificate.fingerprint(),
            issuer: certificate.issuer.clone(),
            issuer_fingerprint_sha256: issuer.map(Facts::fingerprint),
        }
    }
}

impl Report {
    pub(super) fn has_problems(&self) -> bool {
        !self.problems.is_empty() || self.certificates.iter().any(|entry| !entry.problems.is_empty())
    }

    pub(super) fn write_json(&self, out: &mut dyn Write) -> Result<(), PkiFault> {
        serde_json::to_writer_pretty(&mut *out, self).map_err(|error| PkiFault::Output(error.into()))?;
        writeln!(out).map_err(PkiFault::Output)
    }

    pub(super) fn write_text(&self, out: &mut dyn Write) -> Result<(), PkiFault> {
        self.text(out).map_err(PkiFault::Output)
    }

    fn text(&self, out: &mut dyn Write) -> std::io::Result<()> {
        for entry in &self.certificates {
            writeln!(out, "{}", entry.file)?;
            if let Some(details) = &entry.details {
                writeln!(out, "  subject   {}", details.subject)?;
                if !details.names.is_empty() {
                    writeln!(out, "  name      {}", details.names.join(", "))?;
                }
                writeln!(out, "  valid to  {} ({} days left)", details.not_after, details.days_left)?;
                writeln!(out, "  sha256    {}", details.fingerprint_sha256)?;
                if entry.kind != Kind::Authority {
                    let fingerprint = details.issuer_fingerprint_sha256.as_deref().unwrap_or("not in ca.crt");
                    writeln!(out, "  issuer    {}\n            {fingerprint}", details.issuer)?;
                }
            }
            for problem in &entry.problems {
                writeln!(out, "  PROBLEM   {problem}")?;
            }
        }
        for problem in &self.problems {
            writeln!(out, "PROBLEM  {problem}")?;
        }
        for note in &self.notes {
            writeln!(out, "note     {note}")?;
        }
        Ok(())
    }
}
