//! Quicklists of listpacks from outside, then changed by what the input says, beside a plain list of texts.
//!
//! The input: how large chunks become, and which of them are compressed, how many bytes the listpacks have, the
//! listpacks, each with its length before, then two bytes for each change.

use corering::structure::listpack::Listpack;
use corering::structure::quicklist::{Fill, Quicklist, Sought};

/// Panics when the input shows a mistake.
pub fn check(input: &[u8]) {
    let [size, nodes_len, rest @ ..] = input else { return };
    let fill = Fill::of_directive(i32::from(*size as i8).clamp(-5, 100)).compressed(usize::from(*size % 3));
    let (mut nodes, changes) = rest.split_at(usize::from(*nodes_len).min(rest.len()));
    let (mut list, mut model) = (Quicklist::new(), Vec::<Vec<u8>>::new());
    while let [len, behind @ ..] = nodes {
        let (node, behind) = behind.split_at(usize::from(*len).min(behind.len()));
        if let Ok(listpack) = Listpack::from_bytes(node.to_vec()) {
            list.append_listpack(&listpack, fill);
            model.extend(listpack.iter().map(|element| element.to_vec()));
        }
        nodes = behind;
    }
    for change in changes.chunks_exact(2) {
        let text = vec![change[1]; usize::from(change[1] / 2)];
        let at = if model.is_empty() { 0 } else { usize::from(change[1]) % model.len() };
        match change[0] % 9 {
            0 => {
                list.push_back(&text[..], fill);
                model.push(text);
            }
            1 => {
                list.push_front(&text[..], fill);
                model.insert(0, text);
            }
            2 => {
                list.pop_front();
                model.drain(..model.len().min(1));
            }
            3 => {
                list.pop_back();
                model.pop();
            }
            4 => {
                list.insert(at, &text[..], fill);
                model.insert(at, text);
            }
            5 if !model.is_empty() => {
                list.remove(at, fill);
                model.remove(at);
            }
            6 if !model.is_empty() => {
                list.set(at, &text[..], fill);
                model[at] = text;
            }
            7 => {
                list.cut_front(at / 2);
                model.drain(..at / 2);
            }
            8 if !model.is_empty() => {
                // Foreign bytes may say an integer as a string, which equals no integer: what was put in is sought.
                let removed = list.remove_equal(Sought::new(&text), 2, change[1] % 2 == 1, fill);
                let mut left = removed;
                let mut keep = |element: &Vec<u8>| {
                    let goes = *element == text && 0 < left;
                    left -= usize::from(goes);
                    !goes
                };
                if change[1] % 2 == 1 {
                    model.reverse();
                    model.retain(&mut keep);
                    model.reverse();
                } else {
                    model.retain(&mut keep);
                }
                assert_eq!(left, 0);
            }
            _ => {}
        }
        assert_eq!(list.len(), model.len());
    }
    let mut all = Vec::new();
    list.for_each(|element| all.push(element.to_vec()));
    assert!(all == model);
    let (mut at, mut nodes) = (0, 0);
    while let Some(len) = list.with_node(at, |_| ()) {
        (at, nodes) = (at + len, nodes + 1);
    }
    assert_eq!((at, nodes), (list.len(), list.node_count()));
    assert!(list.heap_bytes() <= 1 << 20);
    while list.free_some(1) {}
}
