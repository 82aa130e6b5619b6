/// What is wrong in `docs/book/recordings/what-is-wrong-1.json`, `-2` and `-3`: the name of the lint that the page should
/// show, such as `half-open`, and the type of the dispatcher that does it, such as `Oak`.
pub const ANSWERS: [(&str, &str); 3] = [("", ""), ("", ""), ("", "")];
