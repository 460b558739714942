use std::collections::VecDeque;
use std::io;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::cases::cases;

/// What a connection brings, read after read; then it is silent.
struct Stream(VecDeque<Result<Vec<u8>, ErrorKind>>);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut part = self.0.pop_front().unwrap_or(Err(ErrorKind::WouldBlock))?;
        let rest = part.split_off(part.len().min(buffer.len()));
        buffer[..part.len()].copy_from_slice(&part);
        if !rest.is_empty() {
            self.0.push_front(Ok(rest));
        }
        Ok(part.len())
    }
}

/// A message, and something like it.
fn an_answer() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    (vec(any::<u8>(), 1..700), any::<usize>(), any::<u8>(), 0..5_u8).prop_map(|(message, place, byte, how)| {
        let place = place % message.len();
        let mut answer = message.clone();
        match how {
            0 => {}
            1 => answer.truncate(place),
            2 => answer[place] = byte,
            3 => drop(answer.remove(place)),
            _ => answer.push(byte),
        }
        (message, answer)
    })
}

/// How the connection goes on after the answer, and what becomes of an incomplete one.
fn an_end() -> impl Strategy<Value = Option<Result<Vec<u8>, ErrorKind>>> {
    prop_oneof![Just(None), Just(Some(Ok(Vec::new()))), Just(Some(Err(ErrorKind::ConnectionReset)))]
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn an_answer_is_right_if_it_equals_the_message_however_it_comes(
        (message, answer) in an_answer(),
        pauses in vec((1..300_usize, prop_oneof![Just(None), Just(Some(ErrorKind::WouldBlock)), Just(Some(ErrorKind::Interrupted))]), 1..8),
        end in an_end(),
    ) {
        let mut reads = VecDeque::new();
        let mut rest = &answer[..];
        for (size, pause) in pauses.iter().cycle() {
            let (part, after) = rest.split_at(rest.len().min(*size));
            if part.is_empty() {
                break;
            }
            rest = after;
            reads.push_back(Ok(part.to_vec()));
            reads.extend(pause.map(Err));
        }
        let closes = end.is_some();
        reads.extend(end);
        let mut stream = Stream(reads);

        let mut right = Ok(0);
        // A read for each time that it would block.
        while let Ok(so_far) = right {
            right = read_on(&mut stream, &message, so_far);
            if stream.0.is_empty() || so_far == message.len() {
                break;
            }
        }
        if answer.starts_with(&message) {
            prop_assert_eq!(right, Ok(message.len()));
        } else if message.starts_with(&answer) && closes {
            prop_assert_eq!(right.unwrap_err().0, Failure::Closed);
        } else if message.starts_with(&answer) {
            prop_assert_eq!(right, Ok(answer.len()));
        } else {
            prop_assert_eq!(right.unwrap_err().0, Failure::Garbled);
        }
    }
}
