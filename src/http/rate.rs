//! What usage costs, on the wire.

use crate::model::Rate;
use crate::model::rate::TierShare;

/// The one price where there is room for one, `"0"` when it is free; see [`Rate::shown_price`].
pub(crate) fn shown_price(rate: &Rate, shares: &[TierShare]) -> String {
    rate.shown_price(shares).map_or_else(|| "0".to_owned(), |price| price.to_string())
}
