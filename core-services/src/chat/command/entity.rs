//! Entities of a text: whether they lie inside of it, apart or one in the other.

use hub_protocol::ErrorCode;
use hub_protocol::api::entity::{Entity, EntityType};
use hub_protocol::error::ErrorBody;
use hub_protocol::limits::{ENTITIES_MAX, URL_BYTES_MAX, URLS_BYTES_MAX};

use crate::call::refuse;

/// Checks the entities of a text; see [`hub_protocol::api::entity`] for the rules.
pub(super) fn check(text: &str, entities: &[Entity]) -> Result<(), ErrorBody> {
    if entities.is_empty() {
        return Ok(());
    }
    if entities.len() > ENTITIES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "a message has at most 100 entities"));
    }
    let bytes: usize = entities
        .iter()
        .filter_map(|entity| entity.url.as_ref())
        .map(String::len)
        .sum();
    if bytes > URLS_BYTES_MAX {
        return Err(refuse(
            ErrorCode::TooLarge,
            "the links of a message have at most 8192 bytes",
        ));
    }
    for entity in entities {
        check_members(entity)?;
    }
    check_places(text, entities)
}

fn check_members(entity: &Entity) -> Result<(), ErrorBody> {
    let bad = |message| Err(refuse(ErrorCode::BadRequest, message));
    match (entity.kind, &entity.url, entity.user) {
        (EntityType::Link, Some(url), None) => check_url(url),
        (EntityType::Link, _, _) => bad("entities: a link has a url and no user"),
        (EntityType::Mention, None, Some(user)) if !user.is_nil() => Ok(()),
        (EntityType::Mention, _, _) => bad("entities: a mention has a user and no url"),
        (_, None, None) => Ok(()),
        _ => bad("entities: only links have a url and only mentions a user"),
    }
}

/// Schemes that lead somewhere and run nothing.
fn check_url(url: &str) -> Result<(), ErrorBody> {
    if url.len() > URL_BYTES_MAX {
        return Err(refuse(ErrorCode::TooLarge, "the url is longer than 2048 bytes"));
    }
    let scheme = url.split_once(':').map(|(scheme, _)| scheme.to_ascii_lowercase());
    let known = matches!(scheme.as_deref(), Some("http" | "https" | "mailto"));
    if !known || url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(refuse(
            ErrorCode::BadRequest,
            "entities: a url begins with http, https or mailto and holds no space",
        ));
    }
    Ok(())
}

fn check_places(text: &str, entities: &[Entity]) -> Result<(), ErrorBody> {
    let bad = |message| Err(refuse(ErrorCode::BadRequest, message));
    let borders = borders(text);
    let mut open: Vec<(u64, EntityType)> = Vec::new();
    let mut before: Option<(u64, std::cmp::Reverse<u64>)> = None;
    for entity in entities {
        let (start, end) = (
            u64::from(entity.offset),
            u64::from(entity.offset) + u64::from(entity.length),
        );
        if entity.length == 0 {
            return bad("entities: a length is 0");
        }
        if borders.binary_search(&start).is_err() || borders.binary_search(&end).is_err() {
            return bad("entities: one begins or ends outside of the text, or inside of a character");
        }
        let place = (start, std::cmp::Reverse(end));
        if before.is_some_and(|before| before > place) {
            return bad("entities: not sorted by offset, the longer first");
        }
        before = Some(place);
        while open.last().is_some_and(|(until, _)| *until <= start) {
            open.pop();
        }
        if let Some((until, kind)) = open.last() {
            if end > *until {
                return bad("entities: two of them overlap in part");
            }
            if matches!(kind, EntityType::Code | EntityType::Pre) {
                return bad("entities: code and pre hold no others");
            }
        }
        open.push((end, entity.kind));
    }
    Ok(())
}

/// Where characters begin, in UTF-16 code units, and the end of the text.
fn borders(text: &str) -> Vec<u64> {
    let mut at = 0;
    let mut borders = vec![0];
    for c in text.chars() {
        at += if c.len_utf16() == 2 { 2 } else { 1 };
        borders.push(at);
    }
    borders
}

#[cfg(test)]
mod tests {
    use hub_protocol::UserId;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn part(kind: EntityType, offset: u32, length: u32) -> Entity {
        Entity {
            kind,
            offset,
            length,
            url: None,
            user: None,
        }
    }

    fn bold(offset: u32, length: u32) -> Entity {
        part(EntityType::Bold, offset, length)
    }

    fn code(text: &str, entities: &[Entity]) -> Result<(), ErrorCode> {
        check(text, entities).map_err(|error| error.code)
    }

    #[test]
    fn offsets_count_utf_16_units_and_never_cut_a_character() {
        let bad = Err(ErrorCode::BadRequest);
        // The emoji takes two units.
        assert_eq!(code("a👍b", &[bold(0, 4)]), Ok(()));
        assert_eq!(code("a👍b", &[bold(1, 2)]), Ok(()));
        assert_eq!(code("a👍b", &[bold(1, 1)]), bad);
        assert_eq!(code("a👍b", &[bold(2, 2)]), bad);
        assert_eq!(code("a👍b", &[bold(3, 2)]), bad);
        assert_eq!(code("a", &[bold(u32::MAX, u32::MAX)]), bad);
        assert_eq!(code("a", &[bold(0, 0)]), bad);
    }

    #[test]
    fn entities_are_apart_or_one_inside_the_other() {
        let bad = Err(ErrorCode::BadRequest);
        assert_eq!(code("abcdef", &[bold(0, 6), bold(0, 3), bold(3, 3)]), Ok(()));
        assert_eq!(code("abcdef", &[bold(0, 3), bold(2, 3)]), bad);
        assert_eq!(code("abcdef", &[bold(3, 1), bold(0, 1)]), bad);
        assert_eq!(code("abcdef", &[part(EntityType::Code, 0, 4), bold(1, 1)]), bad);
        assert_eq!(
            code("abcdef", &vec![bold(0, 6); ENTITIES_MAX + 1]),
            Err(ErrorCode::TooLarge)
        );
    }

    #[test]
    fn links_lead_somewhere_and_run_nothing() {
        let link = |url: &str| Entity {
            url: Some(url.to_owned()),
            ..part(EntityType::Link, 0, 1)
        };
        let bad = Err(ErrorCode::BadRequest);
        assert_eq!(code("a", &[link("https://example.org/?q=1")]), Ok(()));
        assert_eq!(code("a", &[link("MAILTO:ada@example.org")]), Ok(()));
        for url in [
            "javascript:alert(1)",
            "data:text/html,x",
            "//example.org",
            "https://a b",
            "java\nscript:x",
            "",
        ] {
            assert_eq!(code("a", &[link(url)]), bad, "{url}");
        }
        let long = format!("https://{}", "x".repeat(URL_BYTES_MAX));
        assert_eq!(code("a", &[link(&long)]), Err(ErrorCode::TooLarge));
        assert_eq!(code("a", &[part(EntityType::Link, 0, 1)]), bad);
        assert_eq!(code("a", &[part(EntityType::Mention, 0, 1)]), bad);
        let user = Some(UserId(Uuid::from_u128(1)));
        assert_eq!(code("a", &[Entity { user, ..bold(0, 1) }]), bad);
        assert_eq!(
            code(
                "a",
                &[Entity {
                    user,
                    ..part(EntityType::Mention, 0, 1)
                }]
            ),
            Ok(())
        );
    }

    proptest! {
        /// What is accepted can be cut out of the text as JavaScript does, and never overlaps in part.
        #[test]
        fn what_is_accepted_can_be_shown(
            text in "[a👍ß\n]{1,12}", places in proptest::collection::vec((0..14_u32, 0..8_u32), 0..6),
        ) {
            let mut entities: Vec<Entity> = places.into_iter().map(|(at, len)| bold(at, len)).collect();
            entities.sort_by_key(|entity| (entity.offset, std::cmp::Reverse(entity.length)));
            let units: Vec<u16> = text.encode_utf16().collect();
            let range = |entity: &Entity| {
                let start = usize::try_from(entity.offset).unwrap();
                start..start + usize::try_from(entity.length).unwrap()
            };
            let fits = |entity: &Entity| units.get(range(entity)).is_some_and(|cut| {
                !cut.is_empty() && String::from_utf16(cut).is_ok()
            });
            let partly = |a: &Entity, b: &Entity| {
                let (a, b) = (range(a), range(b));
                a.start < b.start && b.start < a.end && a.end < b.end
            };
            let good = entities.iter().all(fits)
                && !entities.iter().any(|a| entities.iter().any(|b| partly(a, b)));
            prop_assert_eq!(check(&text, &entities).is_ok(), good);
        }
    }
}
