//! The turns at each server, shared by all values that are fetched from it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use http::Uri;

use super::turns::Turns;

/// The turns at each origin. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct TurnsByOrigin(Arc<Mutex<HashMap<String, Weak<Turns>>>>);

impl TurnsByOrigin {
    /// Returns the turns at the server of this URL, which servers under other paths share.
    pub(crate) fn at(&self, url: &Uri) -> Arc<Turns> {
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let scheme = url.scheme_str().unwrap_or_default();
        let origin = format!("{scheme}://{authority}").to_ascii_lowercase();
        // The map is consistent at every point that could panic.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turns) = known.get(&origin).and_then(Weak::upgrade) {
            return turns;
        }
        // Issuers that are found when their first token arrives come and go.
        known.retain(|_, turns| turns.strong_count() > 0);
        let turns = Arc::new(Turns::new());
        known.insert(origin, Arc::downgrade(&turns));
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_under_one_origin_share_their_turns_and_unused_ones_are_forgotten() {
        let all = TurnsByOrigin::default();
        let at = |url: &'static str| all.at(&Uri::from_static(url));
        let one = at("https://as.example.com/tenants/1");
        assert!(Arc::ptr_eq(&one, &all.clone().at(&Uri::from_static("https://AS.example.com/2"))));
        for url in ["https://as.example.com:8443/", "http://as.example.com/", "https://other/"] {
            assert!(!Arc::ptr_eq(&one, &at(url)), "{url}");
        }
        assert_eq!(all.0.lock().unwrap().len(), 2);
    }
}
