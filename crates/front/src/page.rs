//! Lists in pages, as OpenAI's clients ask for them: `after`, `limit`, `order`.

use std::collections::HashMap;

use axum::extract::Query;
use axum::http::Uri;
use serde_json::{Value, json};

use crate::refused::Refused;

/// What is asked of a list.
#[derive(Debug)]
pub(crate) struct Page {
    after: Option<String>,
    limit: usize,
    ascending: bool,
    others: HashMap<String, String>,
}

impl Page {
    /// Reads a question. `usual` is the limit where none is asked for, `most` the highest; `others` are further names
    /// that this list knows.
    ///
    /// # Errors
    /// Which parameter is wrong.
    pub(crate) fn read(uri: &Uri, (usual, most): (usize, usize), others: &[&str]) -> Result<Page, Refused> {
        let Query(mut asked) = Query::<HashMap<String, String>>::try_from_uri(uri)
            .map_err(|_| Refused::bad("invalid_value", "the query of the address cannot be read"))?;
        let after = asked.remove("after");
        let limit = match asked.remove("limit") {
            None => usual,
            Some(text) => text
                .parse()
                .ok()
                .filter(|limit| (1..=most).contains(limit))
                .ok_or_else(|| Refused::of_field("limit", format!("`limit` must be a number from 1 to {most}")))?,
        };
        let ascending = match asked.remove("order").as_deref() {
            None | Some("desc") => false,
            Some("asc") => true,
            Some(_) => return Err(Refused::of_field("order", "`order` must be `asc` or `desc`")),
        };
        if let Some(name) = asked.keys().find(|name| !others.contains(&name.as_str())) {
            let shown: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
            return Err(Refused::of_field(&shown, format!("this list has no parameter `{shown}`")));
        }
        Ok(Page { after, limit, ascending, others: asked })
    }

    /// A further parameter.
    pub(crate) fn other(&self, name: &str) -> Option<&str> {
        self.others.get(name).map(String::as_str)
    }

    /// The page of `all`, the oldest first, and whether there are more behind it. What is after something that is gone is
    /// nothing.
    pub(crate) fn cut<T>(&self, mut all: Vec<T>, id: impl Fn(&T) -> String) -> (Vec<T>, bool) {
        if !self.ascending {
            all.reverse();
        }
        if let Some(after) = &self.after {
            let at = all.iter().position(|one| id(one) == *after).map_or(all.len(), |at| at + 1);
            all.drain(..at);
        }
        let more = all.len() > self.limit;
        all.truncate(self.limit);
        (all, more)
    }

    /// A list as OpenAI's clients know it.
    pub(crate) fn list(data: Vec<Value>, more: bool) -> Value {
        let id = |one: Option<&Value>| one.map_or(Value::Null, |one| one["id"].clone());
        let (first, last) = (id(data.first()), id(data.last()));
        json!({ "object": "list", "data": data, "first_id": first, "last_id": last, "has_more": more })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<(Vec<u32>, bool), Option<String>> {
        let uri: Uri = format!("/v1/files?{query}").parse().expect("an address");
        let page = Page::read(&uri, (3, 5), &["purpose"]).map_err(|refused| refused.param)?;
        Ok(page.cut((1..=6).collect(), u32::to_string))
    }

    #[test]
    fn a_list_is_cut_where_it_is_asked_to_be() {
        assert_eq!(page(""), Ok((vec![6, 5, 4], true)));
        assert_eq!(page("after=4"), Ok((vec![3, 2, 1], false)));
        assert_eq!(page("after=4&limit=2"), Ok((vec![3, 2], true)));
        assert_eq!(page("order=asc&limit=5"), Ok((vec![1, 2, 3, 4, 5], true)));
        assert_eq!(page("after=9"), Ok((vec![], false)));
        assert_eq!(page("purpose=batch&limit=1"), Ok((vec![6], true)));
    }

    #[test]
    fn what_it_does_not_know_is_refused_by_name() {
        for (query, name) in
            [("limit=0", "limit"), ("limit=6", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("x=1", "x")]
        {
            assert_eq!(page(query), Err(Some(name.to_owned())), "{query}");
        }
    }
}
