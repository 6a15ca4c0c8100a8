//! Countries, and the groups of countries a law names, as dated data.
//!
//! Membership changes by treaty, so each group carries the day it was true. Codes are ISO 3166-1 alpha-2; `EL`, which EU
//! bodies write for Greece, reads as `GR`. Regions of a member state that have a code of their own but are part of the
//! Union (French outermost regions, Åland) belong to the groups; overseas territories that are not part of it (GL, FO) don't.
//! An adequacy decision is not residency, so no group contains GB or CH.

use std::fmt;

/// The day the groups below were last checked.
pub const GROUPS_AS_OF: &str = "2026-11-01";

const EU27: &[&str] = &[
    "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE", "IT", "LV", "LT",
    "LU", "MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE",
];
const EU_REGIONS_WITH_OWN_CODE: &[&str] = &["GF", "GP", "MQ", "RE", "YT", "MF", "AX"];
const EEA_BEYOND_EU: &[&str] = &["IS", "LI", "NO"];

/// Every assigned code (249), and `XK`, which is not but which the EU's own bodies use for Kosovo.
const ASSIGNED: &str = "\
    AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY \
    BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK \
    FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR \
    IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK \
    ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM \
    PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF \
    TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW XK";

/// The names a configuration may write, each with what it stands for.
pub const GROUP_NAMES: &[&str] = &["@eu27", "@eea"];

/// An ISO 3166-1 alpha-2 code, upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// Reads an assigned code in either case. `None` for anything else: nobody lives there, so nothing is guessed.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; 2] = text.as_bytes().try_into().ok()?;
        let code = match bytes.map(|letter| letter.to_ascii_uppercase()) {
            [b'E', b'L'] => *b"GR",
            code => code,
        };
        ASSIGNED.as_bytes().chunks(3).any(|assigned| assigned[..2] == code).then_some(Self(code))
    }

    fn bit(self) -> usize {
        usize::from(self.0[0] - b'A') * 26 + usize::from(self.0[1] - b'A')
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("two ASCII letters")
    }
}

impl fmt::Display for Country {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The countries of a jurisdiction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CountrySet {
    named: [u64; 11],
    all_others: bool,
}

/// An entry that names no country and no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an ISO 3166 country code nor one of @eu27, @eea, *")]
pub struct UnknownCountry(pub String);

impl CountrySet {
    /// Adds a code, a group (`@eu27`, `@eea`) or `*`, which stands for every country no jurisdiction names.
    pub fn add(&mut self, entry: &str) -> Result<(), UnknownCountry> {
        let groups: &[&[&str]] = match entry {
            "*" => {
                self.all_others = true;
                return Ok(());
            }
            "@eu27" => &[EU27, EU_REGIONS_WITH_OWN_CODE],
            "@eea" => &[EU27, EU_REGIONS_WITH_OWN_CODE, EEA_BEYOND_EU],
            code => {
                self.insert(Country::parse(code).ok_or_else(|| UnknownCountry(entry.to_owned()))?);
                return Ok(());
            }
        };
        for code in groups.iter().copied().flatten() {
            self.insert(Country::parse(code).expect("the groups hold two-letter codes"));
        }
        Ok(())
    }

    fn insert(&mut self, country: Country) {
        self.named[country.bit() / 64] |= 1 << (country.bit() % 64);
    }

    /// The country is named here, by itself or in a group.
    pub fn names(&self, country: Country) -> bool {
        self.named[country.bit() / 64] & (1 << (country.bit() % 64)) != 0
    }

    /// This set takes every country that no set names.
    pub fn takes_all_others(&self) -> bool {
        self.all_others
    }

    /// A country both sets name, if there is one.
    pub fn overlap(&self, other: &Self) -> Option<Country> {
        (b'A'..=b'Z')
            .flat_map(|first| (b'A'..=b'Z').map(move |second| Country([first, second])))
            .find(|&country| self.names(country) && other.names(country))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entries: &[&str]) -> CountrySet {
        let mut set = CountrySet::default();
        for entry in entries {
            set.add(entry).expect("a known entry");
        }
        set
    }

    #[test]
    fn groups_hold_who_belongs_and_nobody_else() {
        let table = [
            ("DE", true, true),
            ("GR", true, true),
            ("EL", true, true),
            ("el", true, true),
            ("RE", true, true),
            ("AX", true, true),
            ("NO", false, true),
            ("LI", false, true),
            ("CH", false, false),
            ("GB", false, false),
            ("GL", false, false),
            ("FO", false, false),
            ("US", false, false),
        ];
        let (eu27, eea) = (set(&["@eu27"]), set(&["@eea"]));
        for (code, in_eu, in_eea) in table {
            let country = Country::parse(code).expect(code);
            assert_eq!((eu27.names(country), eea.names(country)), (in_eu, in_eea), "{code}");
        }
        assert_eq!(EU27.len(), 27);
        let assigned: Vec<&str> = ASSIGNED.split(' ').collect();
        assert_eq!(assigned.len(), 250);
        assert!(assigned.iter().all(|code| code.len() == 2), "the table is searched in steps of three bytes");
    }

    #[test]
    fn what_is_no_country_is_refused_by_name() {
        for text in ["", "D", "DEU", "D1", "@eu", "Ü", "ZZ", "XX", "UK", "A "] {
            assert_eq!(CountrySet::default().add(text), Err(UnknownCountry(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn an_overlap_is_found() {
        assert_eq!(set(&["@eea"]).overlap(&set(&["US", "NO"])), Country::parse("NO"));
        assert_eq!(set(&["@eu27"]).overlap(&set(&["US", "NO", "*"])), None);
    }
}
