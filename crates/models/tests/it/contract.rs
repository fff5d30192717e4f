//! What every model of the registry must do.

use std::num::NonZeroUsize;

use forecart_data::{Dataset, History, ItemIdx, SeenItems, UserIdx};
use forecart_models::ModelError;
use forecart_models::model_file::LoadedModel;
use forecart_models::recommend::{
    Fallback, FitContext, FitOn, ModelSpec, Reason, Recommender, TopK, TrainingView, registry,
};
use serde_json::json;

use crate::shop::{Held, N_ITEMS, context, fit, shop, specs, write};

/// Histories that a server will see: of users, of strangers, and odd ones.
fn histories() -> Vec<Vec<ItemIdx>> {
    let of = |rows: &[u32]| rows.iter().copied().map(ItemIdx).collect::<Vec<_>>();
    vec![
        of(&[]),
        of(&[0]),
        of(&[0, 0, 0]),
        of(&[7]),
        of(&[7, 7, 7]),
        of(&[1, 5, 9, 12, 30]),
        of(&[30, 12, 9, 5, 1]),
        of(&[3, 0, 4]),
        of(&[u32::MAX]),
        of(&[4, 9999, 61]),
        (0..3000).map(|position| ItemIdx(position % 70)).collect(),
    ]
}

fn scores(model: &dyn Recommender, items: &[ItemIdx]) -> Vec<f32> {
    let mut scores = vec![f32::NAN; model.n_item_rows()];
    model.score_all(History::of(items), &mut scores);
    scores
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn all_bits(model: &dyn Recommender) -> Vec<Vec<u32>> {
    histories().iter().map(|items| bits(&scores(model, items))).collect()
}

fn k(n: usize) -> NonZeroUsize {
    NonZeroUsize::new(n).unwrap()
}

/// Models that ask no history: one list for all.
fn is_for_everybody(name: &str) -> bool {
    name.starts_with("popularity") || ["trending", "latest"].contains(&name)
}

fn for_every_model(mut check: impl FnMut(&dyn ModelSpec, &Dataset, &LoadedModel)) {
    let (_folder, dataset) = shop();
    for spec in specs() {
        let model = fit(spec.as_ref(), &dataset, &context(1, 2));
        assert_eq!(model.model().name(), spec.name());
        assert_eq!(model.model().n_item_rows(), N_ITEMS as usize + 1);
        check(spec.as_ref(), &dataset, &model);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_on_any_number_of_threads_and_any_number_of_fits() {
    for_every_model(|spec, dataset, model| {
        let bytes = model.to_bytes().unwrap();
        for n_threads in [1, 2, 3] {
            let again = fit(spec, dataset, &context(1, n_threads));
            assert!(again.to_bytes().unwrap() == bytes, "{} on {n_threads}", spec.name());
        }
    });
}

#[test]
fn another_seed_gives_another_model_where_the_spec_says_so() {
    for_every_model(|spec, dataset, model| {
        let other = fit(spec, dataset, &context(2, 1));
        let differs = all_bits(other.model()) != all_bits(model.model());
        assert_eq!(differs, spec.uses_seed(), "{}", spec.name());
    });
}

#[test]
fn a_model_survives_its_file_to_the_bit() {
    for_every_model(|spec, _, model| {
        let bytes = model.to_bytes().unwrap();
        let back = LoadedModel::from_bytes(&bytes).unwrap();
        assert_eq!(all_bits(back.model()), all_bits(model.model()), "{}", spec.name());
        assert_eq!(back.header(), model.header());
        assert_eq!(back.model().hyperparameters(), model.model().hyperparameters());
        assert!(back.to_bytes().unwrap() == bytes, "{}", spec.name());
    });
}

#[test]
fn a_model_says_what_it_was_fitted_with_and_leaves_nothing_open() {
    for_every_model(|spec, _, model| {
        let (asked, got) = (spec.hyperparameters(), model.model().hyperparameters());
        let (asked, got) = (asked.as_object().unwrap(), got.as_object().unwrap());
        assert!(asked.keys().eq(got.keys()), "{}", spec.name());
        for (key, value) in asked {
            let is_undecided = value.is_null() || *value == json!("auto");
            let is_open = is_undecided || key == "members" || key == "max_history";
            assert!(is_open || got[key] == *value, "{} {key}", spec.name());
        }
        if spec.name() == "mlp" {
            return; // its loss means nothing after the fit
        }
        let text = model.model().hyperparameters().to_string();
        for open in ["\"auto\"", "\"max_history\":0", "\"dropout\":null"] {
            assert!(!text.contains(open), "{text}");
        }
    });
}

#[test]
fn scores_are_finite_and_candidates_get_the_same() {
    for_every_model(|spec, _, model| {
        for items in histories() {
            let all = scores(model.model(), &items);
            assert!(all.iter().all(|score| score.is_finite()), "{} {items:?}", spec.name());
            assert_eq!(all[0], 0.0, "{}", spec.name());
            let candidates: Vec<ItemIdx> = [5, 0, 60, 5, 61, u32::MAX].map(ItemIdx).to_vec();
            let got = model.model().score(History::of(&items), &candidates);
            let want = [all[5], 0.0, all[60], all[5], 0.0, 0.0];
            assert_eq!(bits(&got), bits(&want), "{} {items:?}", spec.name());
        }
    });
}

#[test]
fn every_history_gives_k_items_whose_order_is_that_of_the_scores() {
    for_every_model(|spec, _, model| {
        for items in histories() {
            let all = scores(model.model(), &items);
            let list =
                model.model().recommend(History::of(&items), &TopK::new(k(10), SeenItems::Keep));
            assert_eq!(list.len(), 10, "{} {items:?}", spec.name());
            assert!(list.is_sorted_by(|a, b| a.score >= b.score), "{}", spec.name());
            for scored in &list {
                assert_eq!(scored.score, all[scored.item.row()], "{}", spec.name());
            }
            let last = list[9].score;
            let n_better = all.iter().skip(1).filter(|score| **score > last).count();
            assert!(n_better < 10, "{} {items:?}", spec.name());
        }
    });
}

#[test]
fn users_together_get_the_lists_that_they_get_alone() {
    for_every_model(|spec, _, model| {
        let histories = histories();
        let histories: Vec<History<'_>> =
            histories.iter().map(|items| History::of(items)).collect();
        for seen in [SeenItems::Keep, SeenItems::Exclude] {
            let request = TopK::new(k(10), seen);
            let lists = model.model().recommend_all(&histories, &request);
            assert_eq!(lists.len(), histories.len());
            for (history, list) in histories.iter().zip(lists) {
                let alone = model.model().recommend(*history, &request);
                assert_eq!(list.len(), alone.len(), "{}", spec.name());
                // Sums in another order: scores, and places of equal ones, may differ in the last bits.
                let scale =
                    alone.iter().fold(1e-3_f32, |most, scored| most.max(scored.score.abs()));
                for (together, alone) in list.iter().zip(&alone) {
                    let difference = (together.score - alone.score).abs();
                    assert!(difference <= 1e-4 * scale, "{} {history:?}", spec.name());
                }
            }
        }
    });
}

/// 61 rows and up to 3 items: what leaves items out before they are scored is asked, too.
#[test]
fn requests_together_get_the_lists_of_their_scores() {
    for_every_model(|spec, _, model| {
        let (histories, exclude) = (histories(), [ItemIdx(2), ItemIdx(777)]);
        let mut requests = Vec::new();
        for items in &histories {
            for (n, seen) in [(1, SeenItems::Keep), (3, SeenItems::Exclude), (10, SeenItems::Keep)]
            {
                let request = TopK { exclude: &exclude, ..TopK::new(k(n), seen) };
                requests.push((History::of(items), request));
            }
        }
        let lists = model.model().recommend_together(&requests);
        assert_eq!(lists.len(), requests.len());
        for ((history, request), list) in requests.iter().zip(&lists) {
            let alone = model.model().recommend(*history, request);
            assert_eq!(*list, alone, "{} {history:?}", spec.name());
            let all = scores(model.model(), history.items);
            for scored in list {
                let want = all[scored.item.row()].to_bits();
                assert_eq!(scored.score.to_bits(), want, "{} {history:?}", spec.name());
            }
        }
        assert!(model.model().recommend_together(&[]).is_empty());
    });
}

/// Sequences are never padded, and positions count back from the newest event: what lies before the
/// newest `max_history` events changes nothing, and the order of those is read from the right end.
#[test]
fn older_events_change_nothing_and_the_order_of_the_newest_counts() {
    let of_order = [
        "seq-rules",
        "v-sknn",
        "stan",
        "vstan",
        "gru4rec",
        "sasrec",
        "bert4rec",
        "hstu",
        "esasrec",
        "two-tower",
        "fusion",
    ];
    let mut n_checked = 0;
    for_every_model(|spec, _, model| {
        let name = spec.name();
        if !of_order.contains(&name) {
            return;
        }
        n_checked += 1;
        let model = model.model();
        let newest: Vec<ItemIdx> = (0..50).map(|step| ItemIdx(step * 7 % N_ITEMS + 1)).collect();
        let of_newest = bits(&scores(model, &newest));
        for n_older in [1, 2, 63] {
            let older = (0..n_older).map(|step| ItemIdx(step % N_ITEMS + 1));
            let all: Vec<ItemIdx> = older.chain(newest.iter().copied()).collect();
            assert!(bits(&scores(model, &all)) == of_newest, "{name}, {n_older} older events");
        }
        let mut swapped = newest.clone();
        swapped.swap(48, 49);
        assert!(bits(&scores(model, &swapped)) != of_newest, "{name}: the newest two swapped");
    });
    assert!(n_checked >= of_order.len());
}

#[test]
fn a_list_of_k_is_the_beginning_of_a_list_of_more() {
    for_every_model(|spec, _, model| {
        for items in histories() {
            for seen in [SeenItems::Keep, SeenItems::Exclude] {
                let list = |n| model.model().recommend(History::of(&items), &TopK::new(k(n), seen));
                let all = list(1000);
                for n in 1..all.len() {
                    assert_eq!(list(n), all[..n], "{} {items:?}", spec.name());
                }
            }
        }
    });
}

#[test]
fn seen_and_excluded_items_obey_the_request() {
    for_every_model(|spec, _, model| {
        for items in histories() {
            let exclude = [ItemIdx(2), ItemIdx(3), ItemIdx(777)];
            let request = TopK { exclude: &exclude, ..TopK::new(k(1000), SeenItems::Exclude) };
            let list = model.model().recommend(History::of(&items), &request);
            let mut expected: Vec<ItemIdx> = (1..=N_ITEMS)
                .map(ItemIdx)
                .filter(|item| !items.contains(item) && !exclude.contains(item))
                .collect();
            let mut listed: Vec<ItemIdx> = list.iter().map(|scored| scored.item).collect();
            listed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(listed, expected, "{} {items:?}", spec.name());
        }
    });
}

#[test]
fn a_history_that_says_nothing_is_answered_with_popularity_and_said_to_be() {
    let (_folder, dataset) = shop();
    let view = TrainingView::new(&dataset, FitOn::Train);
    let mut counts = vec![0.0_f32; view.n_item_rows()];
    for user in view.users() {
        view.history(user).items.iter().for_each(|item| counts[item.row()] += 1.0);
    }
    counts[0] = 0.0;
    for_every_model(|spec, _, model| {
        if is_for_everybody(spec.name()) {
            return;
        }
        for (items, why) in [
            (vec![], Fallback::NoHistory),
            (vec![ItemIdx(0); 3], Fallback::NothingKnown),
            (vec![ItemIdx(u32::MAX)], Fallback::NothingKnown),
        ] {
            assert_eq!(model.model().fallback(History::of(&items)), Some(why), "{}", spec.name());
            assert_eq!(scores(model.model(), &items), counts, "{}", spec.name());
            let reasons = model.model().reasons(History::of(&items), ItemIdx(5), 3);
            assert!(matches!(reasons[..], [Reason::Popular { .. }]), "{}", spec.name());
        }
        assert_eq!(model.model().fallback(History::of(&[ItemIdx(7)])), None, "{}", spec.name());
    });
}

#[test]
fn the_best_item_has_a_reason_and_odd_questions_do_not_fail() {
    for_every_model(|spec, _, model| {
        for items in histories() {
            let history = History::of(&items);
            let best = model.model().recommend(history, &TopK::new(k(1), SeenItems::Keep))[0].item;
            let reasons = model.model().reasons(history, best, 3);
            assert!((1..=3).contains(&reasons.len()), "{} {items:?}", spec.name());
            for reason in reasons {
                if let Reason::Event { position, item, contribution } = reason {
                    assert_eq!(items[position], item, "{}", spec.name());
                    assert!(contribution.is_finite(), "{}", spec.name());
                }
            }
            for odd in [ItemIdx(0), ItemIdx(61), ItemIdx(u32::MAX)] {
                assert_eq!(model.model().reasons(history, odd, 3), [], "{}", spec.name());
            }
            assert_eq!(model.model().reasons(history, best, 0), [], "{}", spec.name());
        }
    });
}

#[test]
fn similar_items_are_other_items_best_first() {
    for_every_model(|spec, _, model| {
        for item in [1, 7, 60].map(ItemIdx) {
            let list = model.model().similar(item, k(5));
            assert!((1..=5).contains(&list.len()), "{}", spec.name());
            assert!(list.iter().all(|scored| scored.item != item && scored.item.is_known()));
            assert!(list.is_sorted_by(|a, b| a.score >= b.score), "{}", spec.name());
        }
        for odd in [ItemIdx(0), ItemIdx(61), ItemIdx(u32::MAX)] {
            assert!(model.model().similar(odd, k(5)).len() <= 5, "{}", spec.name());
        }
    });
}

/// The leak test: what is held out may change as it likes.
#[test]
fn a_model_knows_nothing_of_what_is_held_out() {
    let root = tempfile::tempdir().unwrap();
    let held = Held { validation: 2, test: 3 };
    let dataset = write(&root.path().join("a"), held);
    let other = write(&root.path().join("b"), Held { validation: 20, test: 30 });
    let other_test = write(&root.path().join("c"), Held { validation: 2, test: 30 });
    let user = UserIdx(1);
    assert_ne!(dataset.sequences.history(user), other.sequences.history(user));

    let fit = |spec: &dyn ModelSpec, dataset: &Dataset, fit_on: FitOn, stops_early: bool| {
        let view = TrainingView::new(dataset, fit_on);
        let view = if stops_early { view.with_early_stopping() } else { view };
        all_bits(spec.fit(&view, &context(1, 2)).unwrap().model.as_ref())
    };
    for spec in specs() {
        let spec = spec.as_ref();
        let train = fit(spec, &dataset, FitOn::Train, false);
        assert!(train == fit(spec, &other, FitOn::Train, false), "{}", spec.name());
        // Early stopping may look at validation, never at test.
        let stopped = fit(spec, &dataset, FitOn::Train, true);
        assert!(stopped == fit(spec, &other_test, FitOn::Train, true), "{}", spec.name());
        let both = fit(spec, &dataset, FitOn::TrainValidation, true);
        assert!(both == fit(spec, &other_test, FitOn::TrainValidation, true), "{}", spec.name());
        assert!(both != train, "{} learns from validation where it may", spec.name());
    }
}

#[test]
fn a_limit_on_memory_refuses_before_work_and_the_estimate_passes_itself() {
    for_every_model(|spec, dataset, _| {
        let view = TrainingView::new(dataset, FitOn::Train);
        let needed = spec.needed_bytes(&view);
        assert!(needed > 0, "{}", spec.name());
        let limited = |limit| FitContext { memory_limit_bytes: Some(limit), ..context(1, 1) };
        let error = spec.fit(&view, &limited(needed - 1)).unwrap_err();
        assert!(matches!(error, ModelError::Memory { .. }), "{}: {error}", spec.name());
        assert!(spec.fit(&view, &limited(needed)).is_ok(), "{}", spec.name());
    });
}

#[test]
fn epochs_chosen_on_validation_are_those_of_the_refit() {
    let (_folder, dataset) = shop();
    let spec = specs().into_iter().find(|spec| spec.name() == "mlp").unwrap();
    let view = TrainingView::new(&dataset, FitOn::Train).with_early_stopping();
    let record = spec.fit(&view, &context(1, 1)).unwrap().record;
    assert!(record.curve.iter().all(|epoch| epoch.validation_ndcg_at_10.is_some()));
    let chosen = record.chosen_epoch.unwrap();
    let best = record.curve.iter().map(|epoch| epoch.validation_ndcg_at_10.unwrap());
    let best = best.fold(f64::MIN, f64::max);
    assert_eq!(record.curve[chosen - 1].validation_ndcg_at_10, Some(best));
    let refit = spec.for_refit(&record);
    assert_eq!(refit.hyperparameters()["n_epochs"], chosen);
    let view = TrainingView::new(&dataset, FitOn::TrainValidation).with_early_stopping();
    let record = refit.fit(&view, &context(1, 1)).unwrap().record;
    assert_eq!((record.curve.len(), record.chosen_epoch), (chosen, Some(chosen)));
}

#[test]
fn training_that_diverges_is_an_error_that_names_the_epoch() {
    let (_folder, dataset) = shop();
    let keys = serde_json::json!({
        "d_model": 8, "hidden": [6], "learning_rate": 1e30, "n_epochs": 9, "loss": "full"
    });
    let spec = registry::spec("mlp", &keys).unwrap();
    let view = TrainingView::new(&dataset, FitOn::Train);
    let error = spec.fit(&view, &context(1, 2)).unwrap_err();
    assert!(matches!(error, ModelError::Diverged { .. }), "{error:?}");
    assert!(error.to_string().starts_with("training of mlp diverged in epoch 1, "), "{error}");
}

#[test]
fn networks_learn_and_what_they_learn_helps_on_validation() {
    let (_folder, dataset) = shop();
    let view = TrainingView::new(&dataset, FitOn::Train).with_early_stopping();
    // A model that sees a few masked items of each sequence an epoch needs more of them.
    let models = [
        ("mlp", 12, 0.01),
        ("gru4rec", 12, 0.01),
        ("sasrec", 12, 0.01),
        ("bert4rec", 40, 0.003),
        ("esasrec", 12, 0.01),
        ("two-tower", 30, 0.01),
    ];
    for (name, n_epochs, learning_rate) in models {
        let mut keys = serde_json::json!({
            "n_epochs": n_epochs, "learning_rate": learning_rate, "patience": n_epochs
        });
        if !["mlp", "two-tower"].contains(&name) {
            keys["d_model"] = 32.into();
            keys["dropout"] = 0.1.into();
            keys["batch_size"] = 8.into();
            keys["loss"] = "full".into();
        }
        let spec = registry::spec(name, &keys).unwrap();
        let curve = spec.fit(&view, &context(1, 2)).unwrap().record.curve;
        let (first, last) = (curve[0], curve[curve.len() - 1]);
        // An untrained softmax over 61 rows costs ln 61 = 4.1; steps of 1 to 4 items leave ln 4 = 1.4.
        assert!(first.train_loss < 5.0 && last.train_loss < 3.0, "{name} {curve:?}");
        let best = curve.iter().filter_map(|epoch| epoch.validation_ndcg_at_10).fold(0.0, f64::max);
        // Chance, 10 of 60 items at even gains, is 0.08.
        assert!(best > 0.3, "{name} {curve:?}");
    }
}

#[test]
fn cancelled_training_ends_with_an_error() {
    #[derive(Debug)]
    struct Stop;
    impl forecart_data::Progress for Stop {
        fn begin(&self, _: &str, _: Option<u64>) {}
        fn advance(&self, _: u64) {}
        fn note(&self, _: &str) {}
        fn is_cancelled(&self) -> bool {
            true
        }
    }
    let (_folder, dataset) = shop();
    let view = TrainingView::new(&dataset, FitOn::Train);
    for spec in specs().iter().filter(|spec| !spec.name().starts_with("popularity")) {
        let error = spec.fit(&view, &FitContext { progress: &Stop, ..context(1, 1) }).unwrap_err();
        assert!(matches!(error, ModelError::Cancelled { checkpoint: None }), "{}", spec.name());
    }
}
