//! `pki init`: the first certificates, or those of a region added later.

use std::path::Path;

use jiff::Timestamp;

use super::{
    Account, PkiFault,
    authority::{Authority, BUNDLE, KEY},
    directory::{Change, Directory, is_region_file_stem},
    holder::Holder,
};

/// All of it or, on any fault, nothing.
pub(super) fn init(path: &Path, regions: &[String], now: Timestamp) -> Result<Account, PkiFault> {
    if let Some(region) = regions.iter().find(|region| !is_region_file_stem(region)) {
        return Err(PkiFault::RegionName(region.clone()));
    }
    let directory = Directory::open_or_create(path)?;
    for region in regions {
        for name in [format!("{region}.crt"), format!("{region}.key")] {
            // Also one that can't be read, and a dangling link.
            if directory.file(&name).symlink_metadata().is_ok() {
                return Err(PkiFault::Exists { path: directory.file(&name) });
            }
        }
    }

    let mut account = Account::default();
    let mut change = Change::default();
    let authority = if directory.read(BUNDLE)?.is_none() && directory.read(KEY)?.is_none() {
        let (authority, key) = Authority::create(now)?;
        change.certificate(BUNDLE, authority.bundle());
        change.key(KEY, key);
        account.say(format!("new authority    {}", authority.certificate.subject));
        authority
    } else {
        let authority = Authority::read(&directory)?;
        account.say(format!("authority kept   {} (already there)", authority.certificate.subject));
        authority
    };
    let mut distinct = regions.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    for region in distinct {
        let holder = Holder::Gateway(region);
        let issued = authority.issue(&holder, now)?;
        change.certificate(holder.certificate_file(), issued.chain);
        change.key(holder.key_file(), issued.key);
        account.say(format!("new certificate  {holder}, until {}", issued.not_after.strftime("%F")));
    }
    directory.commit(change)?;
    account
        .say("Each gateway needs ca.crt and its own region's .crt and .key. Keep ca.key off the gateways.");
    Ok(account)
}
