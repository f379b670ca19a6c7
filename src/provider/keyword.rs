//! Closed sets of words, as they are written in a config.

/// An enum whose variants are written as fixed words.
pub trait Keyword: Copy + PartialEq + 'static {
    const ALL: &'static [(Self, &'static str)];

    fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(keyword, _)| *keyword == self).map_or("", |(_, text)| text)
    }

    fn find(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == text).map(|(keyword, _)| *keyword)
    }

    /// `Err` lists the known words.
    fn parse(text: &str) -> Result<Self, String> {
        let known = || Self::ALL.iter().map(|(_, text)| *text).collect::<Vec<_>>().join(", ");
        Self::find(text).ok_or_else(|| format!("{text:?} is unknown; write one of: {}", known()))
    }
}

/// Defines such an enum, with the word beside each variant.
macro_rules! keywords {
    ($(#[$attribute:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $crate::provider::keyword::Keyword for $name {
            const ALL: &'static [($name, &'static str)] = &[$(($name::$variant, $word),)+];
        }
    };
}
pub(super) use keywords;
