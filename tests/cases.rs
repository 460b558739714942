//! How often a property is tried, for the unit tests of both crates.

use proptest::test_runner::Config;

/// `usual` cases, or as many as `PROPTEST_CASES` says.
pub fn cases(usual: u32) -> Config {
    let config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { Config { cases: usual, ..config } }
}
