//! Currencies, and how many digits their minor unit has (ISO 4217).

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// What a code takes in the list, with the space behind it.
const CODE_AND_SPACE: usize = 4;
/// The codes of the wire format's list.
const CODES: &str = "AED ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BRL \
    BSD BWP BYN BZD CAD CHF CLP CNY COP CRC CUP CVE CZK DJF DKK DOP DZD EGP ETB EUR FJD FKP GBP \
    GEL GHS GIP GMD GNF GTQ GYD HKD HNL HRK HTG HUF IDR ILS INR IQD JMD JOD JPY KES KGS KHR KMF \
    KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR \
    MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR \
    SEK SGD SHP SLE SLL SOS SRD SSP STN SVC SZL THB TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS \
    VES VND VUV WST XAF XCD XOF XPF YER ZAR ZMW";
/// Those of them without a minor unit.
const WITHOUT_MINOR_UNIT: &str = "BIF CLP DJF GNF JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF";
/// Those of them whose minor unit is a thousandth.
const WITH_THOUSANDTHS: &str = "BHD IQD JOD KWD LYD OMR TND";

/// A currency, by its code of three capitals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Currency([u8; 3]);

/// The code stands for no currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the code of a currency such as USD")]
pub struct UnknownCurrency;

impl Currency {
    /// The currency with this code, in capitals.
    pub fn from_code(code: &str) -> Option<Self> {
        let code: [u8; 3] = code.as_bytes().try_into().ok()?;
        let is_known =
            CODES.as_bytes().chunks(CODE_AND_SPACE).any(|known| known.starts_with(&code));
        is_known.then_some(Self(code))
    }

    /// Every currency with its code, in the order of the codes.
    pub fn all() -> impl Iterator<Item = (&'static str, Self)> {
        CODES.split_whitespace().filter_map(|code| Some((code, Self::from_code(code)?)))
    }

    /// The code.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Decimal digits of the minor unit: 2 for cents, 0 when the currency has none.
    pub fn minor_digits(self) -> u32 {
        let stands_in = |codes: &str| codes.split_whitespace().any(|known| known == self.code());
        if stands_in(WITHOUT_MINOR_UNIT) {
            0
        } else if stands_in(WITH_THOUSANDTHS) {
            3
        } else {
            2
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = UnknownCurrency;

    fn try_from(code: String) -> Result<Self, UnknownCurrency> {
        Self::from_code(&code).ok_or(UnknownCurrency)
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Currency({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_known_by_their_capitals_alone() {
        for code in CODES.split_whitespace() {
            assert_eq!(Currency::from_code(code).unwrap().code(), code);
        }
        for code in ["usd", "US", "USDD", "XXX", "", "US D", "USD EUR"] {
            assert_eq!(Currency::from_code(code), None, "{code}");
        }
    }

    #[test]
    fn minor_units_are_those_of_iso_4217() {
        for (code, digits) in [("USD", 2), ("JPY", 0), ("KWD", 3), ("MGA", 2), ("TND", 3)] {
            assert_eq!(Currency::from_code(code).unwrap().minor_digits(), digits, "{code}");
        }
        let all = [WITHOUT_MINOR_UNIT, WITH_THOUSANDTHS];
        let exceptions = all.iter().flat_map(|codes| codes.split_whitespace());
        assert!(exceptions.into_iter().all(|code| Currency::from_code(code).is_some()));
    }
}
