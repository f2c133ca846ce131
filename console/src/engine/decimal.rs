//! Owns numeric: exact decimals of up to 38 digits, with PostgreSQL's scales of results. What does
//! not fit is an error and never rounded away.

use std::cmp::Ordering;
use std::fmt;

/// Digits that an `i128` surely holds.
const DIGITS_MAX: u32 = 37;
/// Of a quotient, as PostgreSQL's `NUMERIC_MIN_SIG_DIGITS`.
const QUOTIENT_DIGITS_MIN: i64 = 16;

/// `mantissa / 10^scale`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decimal {
    mantissa: i128,
    scale: u32,
}

impl Decimal {
    /// A whole number.
    pub(crate) fn whole(number: i64) -> Self {
        Self { mantissa: number.into(), scale: 0 }
    }

    /// From text, as PostgreSQL reads it; none when it is not one or too long.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (body, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, body) = match body.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, body.strip_prefix('+').unwrap_or(body)),
        };
        let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
        let digits = [whole, fraction].concat();
        let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number || digits.trim_start_matches('0').len() > DIGITS_MAX as usize {
            return None;
        }
        let mantissa: i128 = digits.parse().ok()?;
        let mantissa = if negative { -mantissa } else { mantissa };
        let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent);
        if scale < 0 {
            let factor = power(u32::try_from(-scale).ok()?)?;
            return Some(Self { mantissa: mantissa.checked_mul(factor)?, scale: 0 });
        }
        let scale = u32::try_from(scale).ok().filter(|scale| *scale <= DIGITS_MAX)?;
        Some(Self { mantissa, scale })
    }

    /// From a float, by its 15 digits as PostgreSQL does.
    pub(crate) fn of_float(number: f64) -> Option<Self> {
        if !number.is_finite() {
            return None;
        }
        let digits = format!("{number:.14e}");
        let decimal = Self::parse(&digits)?;
        Some(decimal.trimmed())
    }

    fn trimmed(mut self) -> Self {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        self
    }

    /// As a float.
    pub(crate) fn to_float(self) -> f64 {
        self.to_string().parse().unwrap_or(f64::NAN)
    }

    /// Rounded half away from zero to a whole number.
    pub(crate) fn to_whole(self) -> Option<i64> {
        self.round(0).and_then(|whole| i64::try_from(whole.mantissa).ok())
    }

    /// With a scale at least as large; the same value.
    fn at_scale(self, scale: u32) -> Option<i128> {
        self.mantissa.checked_mul(power(scale.checked_sub(self.scale)?)?)
    }

    /// The sum.
    pub(crate) fn add(self, other: Self) -> Option<Self> {
        let scale = self.scale.max(other.scale);
        let mantissa = self.at_scale(scale)?.checked_add(other.at_scale(scale)?)?;
        Some(Self { mantissa, scale })
    }

    /// The same with the other sign.
    pub(crate) fn negated(self) -> Self {
        Self { mantissa: -self.mantissa, scale: self.scale }
    }

    /// The same without a sign.
    pub(crate) fn magnitude(self) -> Self {
        Self { mantissa: self.mantissa.abs(), scale: self.scale }
    }

    /// -1, 0 or 1.
    pub(crate) fn sign(self) -> i64 {
        match self.mantissa.cmp(&0) {
            Ordering::Less => -1,
            Ordering::Equal => 0,
            Ordering::Greater => 1,
        }
    }

    /// The product.
    pub(crate) fn multiply(self, other: Self) -> Option<Self> {
        let scale = self.scale.checked_add(other.scale).filter(|scale| *scale <= DIGITS_MAX)?;
        Some(Self { mantissa: self.mantissa.checked_mul(other.mantissa)?, scale })
    }

    /// The quotient, to PostgreSQL's scale; the divisor is not 0.
    pub(crate) fn divide(self, by: Self) -> Option<Self> {
        let (weight, first) = self.leading();
        let (by_weight, by_first) = by.leading();
        let quotient_weight = weight - by_weight - i64::from(first <= by_first);
        let scale = QUOTIENT_DIGITS_MIN - quotient_weight * 4;
        let scale = scale.max(self.scale.into()).max(by.scale.into()).max(0);
        let scale = u32::try_from(scale).ok()?;
        // One more digit than asked for is not enough to round by: the remainder decides.
        let shift = i64::from(scale) + i64::from(by.scale) - i64::from(self.scale);
        let (over, under) = if shift >= 0 {
            let factor = power(u32::try_from(shift).ok()?)?;
            (self.mantissa.checked_mul(factor)?, by.mantissa)
        } else {
            let factor = power(u32::try_from(-shift).ok()?)?;
            (self.mantissa, by.mantissa.checked_mul(factor)?)
        };
        Some(Self { mantissa: divided_rounding(over, under)?, scale })
    }

    /// The remainder, with the sign of the dividend; the divisor is not 0.
    pub(crate) fn remainder(self, by: Self) -> Option<Self> {
        let scale = self.scale.max(by.scale);
        let mantissa = self.at_scale(scale)?.checked_rem(by.at_scale(scale)?)?;
        Some(Self { mantissa, scale })
    }

    /// PostgreSQL's weight and first digit in base 10,000.
    fn leading(self) -> (i64, i64) {
        if self.mantissa == 0 {
            return (0, 0);
        }
        let mut digits = self.mantissa.unsigned_abs().to_string();
        let missing = (4 - self.scale % 4) % 4;
        digits.push_str(&"0".repeat(missing as usize));
        let groups_after = i64::from((self.scale + missing) / 4);
        let groups = digits.len().div_ceil(4);
        let head = digits.len() - (groups - 1) * 4;
        let first = digits[..head].parse().unwrap_or(0);
        (i64::try_from(groups).unwrap_or(0) - groups_after - 1, first)
    }

    /// Rounded half away from zero; to a negative scale: to tens, hundreds….
    pub(crate) fn round(self, scale: i64) -> Option<Self> {
        self.cut(scale, divided_rounding)
    }

    /// Without the digits behind a scale.
    pub(crate) fn truncate(self, scale: i64) -> Option<Self> {
        self.cut(scale, i128::checked_div)
    }

    fn cut(self, scale: i64, divide: fn(i128, i128) -> Option<i128>) -> Option<Self> {
        let scale = scale.clamp(-i64::from(DIGITS_MAX), i64::from(DIGITS_MAX));
        let drop = i64::from(self.scale) - scale;
        if drop <= 0 {
            let scale = u32::try_from(scale).ok()?;
            return Some(Self { mantissa: self.at_scale(scale)?, scale });
        }
        let Some(factor) = power(u32::try_from(drop).ok()?) else {
            return Some(Self { mantissa: 0, scale: u32::try_from(scale.max(0)).ok()? });
        };
        let mantissa = divide(self.mantissa, factor)?;
        if scale >= 0 {
            return Some(Self { mantissa, scale: u32::try_from(scale).ok()? });
        }
        let back = power(u32::try_from(-scale).ok()?)?;
        Some(Self { mantissa: mantissa.checked_mul(back)?, scale: 0 })
    }

    /// The largest whole number not above it.
    pub(crate) fn floor(self) -> Option<Self> {
        let whole = self.truncate(0)?;
        let below = self.mantissa < 0 && whole.cmp(&self) != Ordering::Equal;
        Some(Self { mantissa: whole.mantissa - i128::from(below), scale: 0 })
    }
}

/// `10^exponent`
fn power(exponent: u32) -> Option<i128> {
    10_i128.checked_pow(exponent)
}

/// Divided and rounded half away from zero.
fn divided_rounding(over: i128, under: i128) -> Option<i128> {
    let quotient = over.checked_div(under)?;
    let rest = over.checked_rem(under)?.unsigned_abs();
    let up = rest >= under.unsigned_abs() - rest;
    let away = if (over < 0) == (under < 0) { 1 } else { -1 };
    if up && rest != 0 { quotient.checked_add(away) } else { Some(quotient) }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let scale = self.scale as usize;
        let digits = format!("{:0>width$}", self.mantissa.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let point = if scale > 0 { "." } else { "" };
        write!(f, "{sign}{whole}{point}{fraction}")
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.max(other.scale);
        match (self.at_scale(scale), other.at_scale(scale)) {
            (Some(one), Some(other)) => one.cmp(&other),
            // Too far apart for one scale: the whole parts decide, and the larger scale belongs
            // to the smaller number.
            _ => self.to_float().total_cmp(&other.to_float()),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Decimal {}
