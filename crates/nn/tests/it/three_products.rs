//! The worked example keeps its promise.

#[path = "../../examples/three_products.rs"]
#[expect(dead_code, reason = "the example's main is not called here")]
mod example;

use example::three_products;

/// Whatever the initial weights: the order lies in the data.
#[test]
fn b_interests_least_and_c_most() {
    for seed in 0..50 {
        let [a, b, c] = three_products(seed).unwrap();
        assert!(b < a && a < c, "seed {seed}: A {a} B {b} C {c}");
        assert!(b < 0.5 && a > 0.5, "seed {seed}: the labels are learned: A {a} B {b} C {c}");
    }
}
