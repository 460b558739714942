//! Which faults come, in which order.

use std::time::Duration;

use super::faults::{FAULTS, Fault};

/// How many cards of a deck have two faults.
const PAIRS: usize = 8;

/// The faults to come. They depend on the seed alone, so that another program can be given the same.
pub struct Plan {
    dice: Dice,
    deck: Vec<Card>,
}

/// What is to happen next.
pub struct Card {
    /// One fault, or two at once.
    pub faults: Vec<&'static Fault>,
    /// How long it lasts.
    pub pause: Duration,
}

impl Card {
    /// What it is called in the table.
    pub fn kind(&self) -> &'static str {
        if self.faults.len() > 1 { "two at once" } else { self.faults[0].name }
    }

    /// What it is called in the list.
    pub fn name(&self) -> String {
        self.faults.iter().map(|fault| fault.name).collect::<Vec<_>>().join(" + ")
    }
}

impl Plan {
    /// The plan that this seed gives.
    pub fn new(seed: u64) -> Plan {
        Plan { dice: Dice(seed), deck: Vec::new() }
    }

    /// The next card. Each fault comes once before any comes again.
    pub fn next(&mut self) -> Card {
        if self.deck.is_empty() {
            self.deck = self.shuffled();
        }
        self.deck.pop().unwrap()
    }

    fn shuffled(&mut self) -> Vec<Card> {
        let mut deck: Vec<Vec<&Fault>> = FAULTS.iter().map(|fault| vec![fault]).collect();
        for _ in 0..PAIRS {
            let first = self.dice.throw(FAULTS.len());
            let second = (first + 1 + self.dice.throw(FAULTS.len() - 1)) % FAULTS.len();
            deck.push(vec![&FAULTS[first], &FAULTS[second]]);
        }
        for last in (1..deck.len()).rev() {
            deck.swap(last, self.dice.throw(last + 1));
        }
        let pause = |dice: &mut Dice| Duration::from_millis(1_000 + dice.throw(5_000) as u64);
        deck.into_iter().map(|faults| Card { faults, pause: pause(&mut self.dice) }).collect()
    }
}

/// Numbers that look random: splitmix64, in which neighbouring seeds have nothing in common.
struct Dice(u64);

impl Dice {
    /// A number below `sides`.
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(sides).unwrap()).unwrap()
    }
}

#[test]
fn the_same_seed_gives_the_same_faults() {
    let cards = |seed| {
        let mut plan = Plan::new(seed);
        (0..100).map(|_| plan.next()).map(|card| (card.name(), card.pause)).collect::<Vec<_>>()
    };
    assert_eq!(cards(5), cards(5));
    assert_ne!(cards(5), cards(6));
    let deck = FAULTS.len() + PAIRS;
    for fault in &FAULTS {
        assert!(cards(7)[..deck].iter().any(|(name, _)| name == fault.name), "{}", fault.name);
    }
}
