//! Keeps the values that claims were parsed to, beside their text.

use std::{
    any::{Any, TypeId},
    sync::{Arc, OnceLock},
};

/// The maximum number of types that are kept for one text. Any other type is parsed with each call.
const MAX_TYPES: usize = 8;

/// One value for each requested type, in the order of the first requests.
///
/// The list grows only at its end, so finding a value takes neither a lock nor an allocation. No
/// lock is held while a type of the application is being parsed, so its work, or a panic in it,
/// does not affect other callers.
#[derive(Default)]
pub(super) struct ParsedValues(OnceLock<Box<Node>>);

struct Node {
    type_id: TypeId,
    /// `None` if the text is not of that type. The text never changes, so parsing is not tried
    /// again.
    value: Option<Arc<dyn Any + Send + Sync>>,
    next: ParsedValues,
}

impl ParsedValues {
    /// Returns the value of this type that is kept, or else the one that `parse` makes.
    ///
    /// If several callers parse at the same time, all get the value that was stored first.
    pub(super) fn get<T: Send + Sync + 'static>(
        &self,
        parse: impl FnOnce() -> Option<T>,
    ) -> Option<Arc<T>> {
        let type_id = TypeId::of::<T>();
        let (mut list, mut seen) = (self, 0);
        while let Some(node) = list.0.get() {
            if node.type_id == type_id {
                return node.value();
            }
            (list, seen) = (&node.next, seen + 1);
        }
        let value = parse().map(Arc::new);
        let kept = value.clone().map(|value| value as Arc<dyn Any + Send + Sync>);
        let mut node = Box::new(Node { type_id, value: kept, next: Self::default() });
        while seen < MAX_TYPES {
            match list.0.set(node) {
                Ok(()) => return value,
                Err(late) => node = late,
            }
            // Another caller stored a value first, perhaps of the same type.
            let Some(winner) = list.0.get() else { break };
            if winner.type_id == type_id {
                return winner.value();
            }
            (list, seen) = (&winner.next, seen + 1);
        }
        value
    }
}

impl Node {
    fn value<T: Send + Sync + 'static>(&self) -> Option<Arc<T>> {
        Arc::clone(self.value.as_ref()?).downcast().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, panic::AssertUnwindSafe};

    use super::*;

    struct Same(u8);
    struct Other(u8);
    struct Nth<const N: usize>;

    fn never<T>() -> Option<T> {
        panic!("parsed again")
    }

    #[test]
    fn each_type_is_parsed_once() {
        let parsed = ParsedValues::default();
        let first = parsed.get(|| Some(Same(1))).unwrap();
        let other = parsed.get(|| Some(Other(2))).unwrap();
        assert!(Arc::ptr_eq(&first, &parsed.get(never::<Same>).unwrap()));
        assert!(Arc::ptr_eq(&other, &parsed.get(never::<Other>).unwrap()));
        assert_eq!((first.0, other.0), (1, 2));
    }

    #[test]
    fn failed_parse_is_not_repeated() {
        let parsed = ParsedValues::default();
        assert!(parsed.get(|| None::<Same>).is_none());
        assert!(parsed.get(never::<Same>).is_none());
        assert!(parsed.get(|| Some(Other(2))).is_some());
    }

    #[test]
    fn the_number_of_types_is_bounded() {
        let parsed = ParsedValues::default();
        let counted = Cell::new(0);
        fn ask<const N: usize>(parsed: &ParsedValues, counted: &Cell<usize>) {
            let parse = || {
                counted.set(counted.get() + 1);
                Some(Nth::<N>)
            };
            assert!(parsed.get(parse).is_some());
        }
        for _ in 0..2 {
            ask::<0>(&parsed, &counted);
            ask::<1>(&parsed, &counted);
            ask::<2>(&parsed, &counted);
            ask::<3>(&parsed, &counted);
            ask::<4>(&parsed, &counted);
            ask::<5>(&parsed, &counted);
            ask::<6>(&parsed, &counted);
            ask::<7>(&parsed, &counted);
            ask::<8>(&parsed, &counted);
        }
        assert_eq!(counted.get(), MAX_TYPES + 2, "the ninth is parsed each time, and no other is");
    }

    #[test]
    fn panic_while_parsing_stores_no_value() {
        let parsed = ParsedValues::default();
        assert!(parsed.get(|| Some(Other(2))).is_some());
        let panicking = AssertUnwindSafe(|| parsed.get::<Same>(|| panic!("on purpose")));
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert!(parsed.get(never::<Other>).is_some());
        assert_eq!(parsed.get(|| Some(Same(1))).unwrap().0, 1);
    }

    #[test]
    fn value_stored_first_is_returned_to_all() {
        let parsed = ParsedValues::default();
        // Another type and the same one are stored while this one is being parsed.
        let late = parsed.get(|| {
            assert!(parsed.get(|| Some(Other(2))).is_some());
            assert_eq!(parsed.get(|| Some(Same(1))).unwrap().0, 1);
            Some(Same(3))
        });
        assert_eq!(late.unwrap().0, 1);
        assert_eq!(parsed.get(never::<Other>).unwrap().0, 2);
    }
}
