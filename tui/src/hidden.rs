//! Text and bytes that hold secrets: wiped when they are dropped, and not told by `Debug`.

use std::fmt;
use std::ops::{Deref, DerefMut};

use zeroize::{Zeroize, Zeroizing};

/// What is in it is shown by nobody who does not ask for it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Hidden<T> {
    /// What is in it, which goes on being wiped.
    pub fn into_wiped(self) -> Zeroizing<T> {
        self.0
    }
}

impl<T: Zeroize> From<Zeroizing<T>> for Hidden<T> {
    fn from(value: Zeroizing<T>) -> Self {
        Self(value)
    }
}

impl<T: Zeroize> Deref for Hidden<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> DerefMut for Hidden<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T: Zeroize> fmt::Debug for Hidden<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hidden")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_to_who_asks_and_not_by_debug() {
        let hidden = Hidden::from(Zeroizing::new("a7a7".to_owned()));
        assert_eq!(format!("{hidden:?} {:?}", Some(&hidden)), "Hidden Some(Hidden)");
        assert_eq!(hidden.len(), 4);
        assert_eq!(*hidden.into_wiped(), "a7a7");
    }
}
