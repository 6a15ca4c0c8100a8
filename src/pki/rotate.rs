//! `pki rotate`: new certificates, and the two steps by which the authority is replaced.

use std::path::Path;

use jiff::Timestamp;

use super::{
    Account, PkiFault,
    authority::{Authority, BRIDGE, BUNDLE, KEY},
    directory::{Change, Directory},
    facts::Facts,
    holder::Holder,
};

/// New keys and certificates for `regions` and the programs that use their control API, or for all that have one.
pub(super) fn reissue(path: &Path, regions: &[String], now: Timestamp) -> Result<Account, PkiFault> {
    let directory = Directory::open(path)?;
    let authority = Authority::read(&directory)?;
    let present = directory.holders(".crt")?;
    let is_there = |region: &String| present.contains(&Holder::Gateway(region.clone()));
    if let Some(region) = regions.iter().find(|region| !is_there(region)) {
        return Err(PkiFault::NoSuchRegion { directory: path.to_owned(), region: region.clone() });
    }
    let is_chosen =
        |holder: &Holder| regions.is_empty() || regions.iter().any(|region| region == holder.region());
    let chosen = present.into_iter().filter(is_chosen);
    let mut account = Account::default();
    let mut change = Change::default();
    reissue_into(&mut change, &mut account, &authority, chosen, now)?;
    directory.commit(change)?;
    account.say(
        "Load them with SIGHUP on each region's gateways. Former certificates stay good until they expire.",
    );
    Ok(account)
}

/// Step one: see the module above for why any order of distribution is safe.
pub(super) fn replace_authority(path: &Path, now: Timestamp) -> Result<Account, PkiFault> {
    let directory = Directory::open(path)?;
    let old = Authority::read(&directory)?;
    if !old.others.is_empty() {
        return Err(PkiFault::RotationUnderWay);
    }
    let (authority, key) = old.replace(now)?;
    let mut account = Account::default();
    let mut change = Change::default();
    change.certificate(BUNDLE, authority.bundle());
    change.key(KEY, key);
    change.certificate(BRIDGE, authority.bridge().expect("`replace` bridges"));
    account.say(format!("new authority    {}", authority.certificate.subject));
    for old in &authority.others {
        account.say(format!("trusted, too     {}", old.subject));
    }
    reissue_into(&mut change, &mut account, &authority, directory.holders(".crt")?, now)?;
    directory.commit(change)?;
    account.say("Put ca.crt and each region's .crt and .key on its gateways, in any order, and SIGHUP them.");
    account.say("When every gateway has loaded them: `pki rotate --retire-old-ca`.");
    Ok(account)
}

/// Step two. Refused while a certificate here is still the old authority's; that the gateways have loaded the new
/// ones, the operator knows.
pub(super) fn retire_old_authority(path: &Path) -> Result<Account, PkiFault> {
    let directory = Directory::open(path)?;
    let mut authority = Authority::read(&directory)?;
    let retired = authority.retire_others();
    if retired.is_empty() {
        return Err(PkiFault::NothingToRetire);
    }
    let mut account = Account::default();
    let mut change = Change::default();
    change.certificate(BUNDLE, authority.bundle());
    for holder in directory.holders(".crt")? {
        let file = holder.certificate_file();
        let pem = directory.read(&file)?.unwrap_or_default();
        let unusable = |reason| PkiFault::Unusable { path: directory.file(&file), reason };
        let leaf = Facts::read_all(&pem).map_err(unusable)?.swap_remove(0);
        if !leaf.issued_by(&authority.certificate) {
            return Err(PkiFault::StillInUse { file });
        }
        change.certificate(file, authority.chain(&leaf));
    }
    directory.commit(change)?;
    directory.remove(BRIDGE)?;
    for old in retired {
        account.say(format!("retired          {}", old.subject));
    }
    account.say(format!("trusted alone    {}", authority.certificate.subject));
    account.say("Put ca.crt and each region's .crt on its gateways, and SIGHUP them. Keys are unchanged.");
    Ok(account)
}

fn reissue_into(
    change: &mut Change,
    account: &mut Account,
    authority: &Authority,
    holders: impl IntoIterator<Item = Holder>,
    now: Timestamp,
) -> Result<(), PkiFault> {
    for holder in holders {
        let issued = authority.issue(&holder, now)?;
        change.certificate(holder.certificate_file(), issued.chain);
        change.key(holder.key_file(), issued.key);
        account.say(format!("new certificate  {holder}, until {}", issued.not_after.strftime("%F")));
    }
    Ok(())
}
