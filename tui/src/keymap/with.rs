//! Keys of the user's own choice.

use super::{Binding, Key, Keymap};
use crate::action::{Action, Context};

/// The keys that an action has in a context, in place of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// Where.
    pub context: Context,
    /// What they do.
    pub action: Action,
    /// The keys; none at all unbinds the action.
    pub keys: Vec<Key>,
}

/// Why keys cannot be as they were asked for. `at` is the index of the override.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindingError {
    /// The action means nothing there.
    #[error("this action does nothing in `{}`", .context.name())]
    NotOffered {
        /// Which override.
        at: usize,
        /// Where.
        context: Context,
    },
    /// One key is there more than once.
    #[error("key `{}` is listed twice", .key.name())]
    Twice {
        /// Which override.
        at: usize,
        /// The key.
        key: Key,
    },
    /// The key does something else.
    #[error("key `{}` is bound to `{}` there: give that another key, or []", .key.name(), .by.name())]
    Taken {
        /// Which override.
        at: usize,
        /// The key.
        key: Key,
        /// What it does.
        by: Action,
    },
    /// The key is part of a text there.
    #[error("key `{}` is needed to type text", .key.name())]
    Typed {
        /// Which override.
        at: usize,
        /// The key.
        key: Key,
    },
    /// There would be no way out.
    #[error("`{}` must keep a key in `{}`: there is no other way out", .action.name(), .context.name())]
    NoWayOut {
        /// Which override.
        at: usize,
        /// The action that must stay.
        action: Action,
        /// Where.
        context: Context,
    },
}

impl BindingError {
    /// The index of the override that cannot be.
    pub fn at(&self) -> usize {
        match self {
            Self::NotOffered { at, .. }
            | Self::Twice { at, .. }
            | Self::Taken { at, .. }
            | Self::Typed { at, .. }
            | Self::NoWayOut { at, .. } => *at,
        }
    }

    /// The key that is wrong, when it is one.
    pub fn key(&self) -> Option<Key> {
        match self {
            Self::Twice { key, .. } | Self::Taken { key, .. } | Self::Typed { key, .. } => {
                Some(*key)
            }
            Self::NotOffered { .. } | Self::NoWayOut { .. } => None,
        }
    }
}

impl Keymap {
    /// The default keys, but for these. Of two overrides that want one key, the second one is at fault.
    ///
    /// # Errors
    ///
    /// [`BindingError`] when an action means nothing in its context, a key would have two meanings or is part of a
    /// text, or nothing would lead out of a view any more.
    pub fn with(overrides: &[Override]) -> Result<Self, BindingError> {
        let mut keymap = Self::default();
        for (at, wanted) in overrides.iter().enumerate() {
            keymap.replace(at, wanted)?;
        }
        for (at, wanted) in overrides.iter().enumerate() {
            keymap.check(at, wanted, overrides)?;
        }
        // Unbound, it has no place in the help.
        keymap.bindings.retain(|binding| !binding.keys.is_empty());
        Ok(keymap)
    }

    fn replace(&mut self, at: usize, wanted: &Override) -> Result<(), BindingError> {
        let Override { context, action, keys } = wanted;
        let offered = |b: &Binding| b.action == *action && b.contexts.contains(context);
        let Some(index) = self.bindings.iter().position(offered) else {
            return Err(BindingError::NotOffered { at, context: *context });
        };
        let binding = &mut self.bindings[index];
        if binding.keys == *keys {
            return Ok(());
        }
        if binding.contexts.len() == 1 {
            keys.clone_into(&mut binding.keys);
            return Ok(());
        }
        // Elsewhere the action keeps its keys. The own binding takes the same place in the help.
        binding.contexts.retain(|other| other != context);
        let own = Binding { contexts: vec![*context], keys: keys.clone(), ..binding.clone() };
        self.bindings.insert(index, own);
        Ok(())
    }

    fn check(&self, at: usize, wanted: &Override, all: &[Override]) -> Result<(), BindingError> {
        let Override { context, action, keys } = wanted;
        for (index, key) in keys.iter().enumerate() {
            let key = *key;
            if keys[..index].contains(&key) {
                return Err(BindingError::Twice { at, key });
            }
            if *context == Context::Prompt && key.is_text() {
                return Err(BindingError::Typed { at, key });
            }
            let is_later = |binding: &Binding| {
                let mut later = all[at + 1..].iter();
                later.any(|o| o.context == *context && o.action == binding.action)
            };
            let mut others = self.bindings(*context).filter(|b| b.action != *action);
            if let Some(other) = others.find(|b| b.keys.contains(&key) && !is_later(b)) {
                return Err(BindingError::Taken { at, key, by: other.action });
            }
        }
        if keys.is_empty() && ways_out(*context).contains(action) {
            return Err(BindingError::NoWayOut { at, action: *action, context: *context });
        }
        Ok(())
    }
}

/// What must have a key: quitting in each view, which may be answered to a question, and what leads back to the
/// view from everything that lies over it.
fn ways_out(context: Context) -> &'static [Action] {
    match context {
        Context::Sessions | Context::Detail | Context::Picker | Context::Images => &[Action::Quit],
        Context::Help => &[Action::Quit, Action::Back],
        Context::Lines | Context::Prompt => &[Action::Back],
        Context::Question => &[Action::Confirm, Action::Back],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(context: Context, action: Action, keys: &[&str]) -> Override {
        let keys = keys.iter().map(|key| key.parse().unwrap()).collect();
        Override { context, action, keys }
    }

    fn refused(overrides: &[Override]) -> String {
        Keymap::with(overrides).unwrap_err().to_string()
    }

    #[test]
    fn an_override_replaces_the_keys_in_one_context() {
        let keymap =
            Keymap::with(&[wanted(Context::Sessions, Action::Save, &["f2", "W"])]).unwrap();
        let keys =
            |context| keymap.keys(context, Action::Save).iter().map(Key::name).collect::<Vec<_>>();
        assert_eq!(keys(Context::Sessions), ["f2", "W"]);
        assert_eq!(keys(Context::Picker), ["w"]);
        let w: Key = "w".parse().unwrap();
        assert_eq!(keymap.action(Context::Sessions, w), None);
        assert_eq!(keymap.action(Context::Detail, w), Some(Action::Save));
    }

    #[test]
    fn an_empty_list_unbinds() {
        let keymap = Keymap::with(&[wanted(Context::Sessions, Action::Filter, &[])]).unwrap();
        assert!(keymap.keys(Context::Sessions, Action::Filter).is_empty());
        assert!(keymap.bindings(Context::Sessions).all(|b| b.action != Action::Filter));
        assert_eq!(
            keymap.bindings(Context::Detail).count(),
            Keymap::default().bindings(Context::Detail).count()
        );
    }

    #[test]
    fn keys_can_change_places() {
        let swapped = [
            wanted(Context::Sessions, Action::Sort, &["n"]),
            wanted(Context::Sessions, Action::NullFilter, &["s"]),
        ];
        let keymap = Keymap::with(&swapped).unwrap();
        assert_eq!(keymap.key_name(Context::Sessions, Action::Sort), "n");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        use Context::{Detail, Prompt, Question, Sessions};
        let sort = wanted(Sessions, Action::Sort, &["f3"]);
        for (overrides, message) in [
            (vec![wanted(Sessions, Action::Sort, &["w"])], "key `w` is bound to `save`"),
            (
                vec![sort.clone(), wanted(Sessions, Action::Filter, &["f3"])],
                "key `f3` is bound to `sort`",
            ),
            (vec![wanted(Sessions, Action::Sort, &["f3", "f3"])], "listed twice"),
            (vec![wanted(Sessions, Action::Reveal, &["f3"])], "does nothing in `sessions`"),
            (vec![wanted(Prompt, Action::Confirm, &["x"])], "needed to type text"),
            (vec![wanted(Detail, Action::Quit, &[])], "`quit` must keep a key in `detail`"),
            (vec![wanted(Question, Action::Confirm, &[])], "no other way out"),
        ] {
            let refusal = refused(&overrides);
            assert!(refusal.contains(message), "{refusal}");
        }
        let error = Keymap::with(&[sort, wanted(Sessions, Action::Filter, &["f3"])]).unwrap_err();
        assert_eq!((error.at(), error.key().map(|key| key.name())), (1, Some("f3".to_owned())));
    }

    #[test]
    fn every_way_out_is_a_default() {
        let keymap = Keymap::default();
        for context in Context::ALL {
            for action in ways_out(context) {
                assert!(!keymap.keys(context, *action).is_empty(), "{action:?} in {context:?}");
            }
        }
    }
}
