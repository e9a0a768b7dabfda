//! What Turnpike serves to browsers, in one.

mod served;
mod the_browser_helper;
mod the_test_page;
