//! What Turnpike serves to browsers, in one.

mod the_browser_helper;
