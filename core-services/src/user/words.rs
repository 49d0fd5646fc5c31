//! The words by which users are found, and the words of a search. Pure.
//!
//! A search reads one range of the index, in its order, and a bounded part of it per page; so its cost does not
//! depend on how many users there are, nor on how common a word is.

use hub_protocol::ErrorCode;
use hub_protocol::UserId;
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::USER_SEARCH_BYTES_MAX;

use crate::call::refuse;

/// Longer words are cut, characters.
const WORD_CHARS_MAX: usize = 64;
/// Words of one search.
const WORDS_MAX: usize = 6;
/// Behind every text that begins with the text before it, in the order of bytes.
const AFTER_ALL: char = char::MAX;

/// The user name and the words of the display name, in lower case, each once.
pub(super) fn of_profile(username: &str, display_name: &str) -> Vec<String> {
    let mut words = split(display_name);
    words.push(username.to_lowercase());
    words.sort_unstable();
    words.dedup();
    words
}

fn split(text: &str) -> Vec<String> {
    let cut = |word: &str| word.to_lowercase().chars().take(WORD_CHARS_MAX).collect();
    text.split_whitespace().map(cut).collect()
}

/// A range of words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Prefix {
    pub(super) from: String,
    pub(super) below: String,
}

impl Prefix {
    fn new(from: String) -> Self {
        let below = format!("{from}{AFTER_ALL}");
        Self { from, below }
    }
}

/// What a search looks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Query {
    /// The longest word: it leads through the index.
    pub(super) lead: Prefix,
    /// What else must be there.
    pub(super) others: Vec<String>,
}

impl Query {
    /// Reads the text of a search.
    pub(super) fn read(text: &str) -> Result<Self, ErrorBody> {
        if text.len() > USER_SEARCH_BYTES_MAX {
            return Err(refuse(ErrorCode::TooLarge, "query: at most 128 bytes"));
        }
        if text.contains('\0') {
            return Err(refuse(ErrorCode::BadRequest, "query: holds a NUL"));
        }
        let mut words = split(text);
        if words.len() > WORDS_MAX {
            return Err(refuse(ErrorCode::TooLarge, "query: at most 6 words"));
        }
        let longest = (0..words.len()).max_by_key(|&at| words[at].len());
        let Some(longest) = longest else {
            return Err(refuse(ErrorCode::BadRequest, "query: is empty"));
        };
        let lead = Prefix::new(words.swap_remove(longest));
        Ok(Self { lead, others: words })
    }
}

/// Where a page begins: behind this word of this user.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    pub(super) word: String,
    pub(super) user: UserId,
}

impl Page {
    pub(super) fn write(&self) -> String {
        format!("{}.{}", self.user, self.word)
    }

    /// Reads the `next` of a page before; it must be one of the same search.
    pub(super) fn read(text: &str, lead: &Prefix) -> Result<Self, ErrorBody> {
        let page = text.split_once('.').and_then(|(user, word)| {
            let user = user.parse().ok()?;
            word.starts_with(&lead.from).then(|| Self {
                word: word.to_owned(),
                user,
            })
        });
        let page = page.filter(|page| page.word.len() <= WORD_CHARS_MAX * 4 && !page.word.contains('\0'));
        page.ok_or_else(|| refuse(ErrorCode::BadRequest, "page: not the `next` of this search"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_is_found_by_its_words() {
        assert_eq!(
            of_profile("ada.l", "Ada  Lovelace ÄNNE ada.l"),
            ["ada", "ada.l", "lovelace", "änne"]
        );
    }

    #[test]
    fn the_longest_word_leads_and_ranges_hold_what_begins_with_it() {
        let query = Query::read(" Lo  ADA-m x ").unwrap();
        assert_eq!(query.lead.from, "ada-m");
        assert_eq!(query.others.len(), 2);
        for inside in ["ada-m", "ada-mü", "ada-m\u{10FFFE}z"] {
            assert!(*query.lead.from <= *inside && *inside < *query.lead.below);
        }
        for outside in ["ada-l", "ada-n", "ada"] {
            assert!(*outside < *query.lead.from || *query.lead.below <= *outside);
        }
        assert_eq!(Query::read(" \n").unwrap_err().code, ErrorCode::BadRequest);
        assert_eq!(
            Query::read("a b c d e f g").unwrap_err().code,
            ErrorCode::TooLarge
        );
    }

    #[test]
    fn a_page_belongs_to_its_search() {
        let query = Query::read("ad").unwrap();
        let page = Page {
            word: "ada.l".to_owned(),
            user: UserId::from_bytes([3; 16]),
        };
        assert_eq!(Page::read(&page.write(), &query.lead), Ok(page.clone()));
        let other = Query::read("b").unwrap();
        for text in [page.write().as_str(), "", "x.ada"] {
            assert!(Page::read(text, &other.lead).is_err());
        }
    }
}
