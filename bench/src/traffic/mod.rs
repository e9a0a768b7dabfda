//! Frames on their way to the relay and back.

/// How frames are made for a flow, and what must arrive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wire {
    /// ChannelData or Send indications; what must arrive is what TURN says.
    Turn,
    /// The same frame with its MAC addresses swapped.
    Echo,
    /// The same frame with TTL - 1.
    Forward,
}
