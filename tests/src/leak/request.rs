//! Owns what is sent to both sides of a comparison. It makes and sends nothing.

/// One thing to send, to both sides alike.
#[derive(Debug, Clone)]
pub enum Request {
    /// Messages, and how many ReadyForQuery they are answered with.
    Flight {
        /// For people.
        text: String,
        /// As they go over the wire.
        bytes: Vec<u8>,
        /// ReadyForQuery to expect.
        syncs: usize,
    },
    /// New connections begin with these startup parameters.
    Reconnect(Vec<(String, String)>),
}

impl Request {
    /// It may end listening. PostgreSQL promises nothing about notifications that have been sent
    /// and not been heard by then, so both sides must have heard all.
    pub fn ends_listening(&self) -> bool {
        let Self::Flight { text, .. } = self else { return true };
        ["unlisten", "discard all"].iter().any(|word| text.contains(word))
    }
}
