//! Numbers of any length, reckoned digit by digit as on paper.

/// Decimal digits, lowest first: multiplied as on paper.
pub(in crate::billing) fn multiplied(left: u128, right: u128) -> Vec<u8> {
    let digits = |number: u128| -> Vec<u8> {
        number.to_string().bytes().rev().map(|byte| byte - b'0').collect()
    };
    let (left, right) = (digits(left), digits(right));
    let mut product = vec![0_u8; left.len() + right.len() + 1];
    for (i, a) in left.iter().enumerate() {
        let mut carry = 0;
        for j in 0..product.len() - i {
            let sum = product[i + j] + a * right.get(j).copied().unwrap_or(0) + carry;
            product[i + j] = sum % 10;
            carry = sum / 10;
        }
    }
    product
}

/// Digits, highest first and without zeros in front, behind their count: compares as numbers do.
pub(in crate::billing) fn number(mut digits: Vec<u8>) -> (usize, Vec<u8>) {
    while digits.last() == Some(&0) {
        digits.pop();
    }
    digits.reverse();
    (digits.len(), digits)
}
