/// What is wrong in `docs/book/recordings/what-is-wrong-1.json`, `-2` and `-3`: the name of the lint that the page should
/// show, such as `half-open`, and the type of the dispatcher that does it, such as `Oak`.
pub const ANSWERS: [(&str, &str); 3] = [
    // A hundred thousand callbacks a second, all of them handle_write, interest R + W, and not a byte in or out.
    ("idle-writer", "Alder"),
    // Its outbox grows to half a mebibyte and stays there; "outbox full" in the column of the state.
    ("over-high-mark", "Cedar"),
    // No lint would have said so: 90 ms in handle_read, and the threshold is 100. The column "Queued" of all the others
    // has it, and so has the timeline.
    ("slow-callback", "Cedar"),
];
