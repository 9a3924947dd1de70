//! Every target on the inputs that are part of the repository: what was once a defect stays none.

use tlskeytop_fuzz::mutator::Mutator;
use tlskeytop_fuzz::random::Random;
use tlskeytop_fuzz::{TARGETS, Target};

fn run(name: &str) {
    let target = Target::named(name).expect("a target");
    let corpus = target.corpus().expect("a corpus");
    assert!(!corpus.is_empty(), "{name} has no corpus");
    for bytes in &corpus {
        assert!(bytes.len() <= target.longest, "{} bytes", bytes.len());
        (target.run)(bytes);
    }
}

macro_rules! corpora {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            run(stringify!($name));
        })*

        #[test]
        fn no_target_is_left_out() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

corpora!(elf patched pclntab proc event keylog config filter text packet hello pcap recording);

#[test]
fn inputs_differ_and_keep_to_their_length() {
    let corpus = [b"some text".to_vec(), vec![0; 50]];
    let random = Random::new(7);
    let mut mutator = Mutator { random, corpus: &corpus, words: &["word"], longest: 64 };
    let inputs: Vec<_> = (0..1000).map(|_| mutator.input()).collect();
    assert!(inputs.iter().all(|bytes| bytes.len() <= 64));
    let different: std::collections::BTreeSet<_> = inputs.iter().collect();
    assert!(different.len() > 900, "{}", different.len());
    let words = inputs.iter().filter(|bytes| bytes.windows(4).any(|part| part == b"word"));
    assert!(words.count() > 50);
}
