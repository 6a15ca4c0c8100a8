//! `pki issue --control`: a certificate for a program that uses the control API.

use std::path::Path;

use jiff::Timestamp;

use super::{
    Account, PkiFault,
    authority::Authority,
    directory::{Change, Directory},
    holder::Holder,
};
use crate::tls::{ControlClient, is_region_label};

/// For the gateways of a region that has a certificate here.
pub(super) fn issue(path: &Path, region: &str, name: &str, now: Timestamp) -> Result<Account, PkiFault> {
    if !is_region_label(name) {
        return Err(PkiFault::ControlName(name.to_owned()));
    }
    let directory = Directory::open(path)?;
    let authority = Authority::read(&directory)?;
    let gateway = Holder::Gateway(region.to_owned());
    if !directory.holders(".crt")?.contains(&gateway) {
        return Err(PkiFault::NoSuchRegion { directory: path.to_owned(), region: region.to_owned() });
    }
    let holder = Holder::Control(ControlClient { region: region.to_owned(), name: name.to_owned() });
    for file in [holder.certificate_file(), holder.key_file()] {
        if directory.file(&file).symlink_metadata().is_ok() {
            return Err(PkiFault::Exists { path: directory.file(&file) });
        }
    }
    let issued = authority.issue(&holder, now)?;
    let mut change = Change::default();
    change.certificate(holder.certificate_file(), issued.chain);
    change.key(holder.key_file(), issued.key);
    directory.commit(change)?;
    let mut account = Account::default();
    account.say(format!("new certificate  {holder}, until {}", issued.not_after.strftime("%F")));
    account.say(format!(
        "The program needs ca.crt, {} and {}; it connects to the internal listener of {region} under the name {}.",
        holder.certificate_file(),
        holder.key_file(),
        gateway.name(),
    ));
    Ok(account)
}
