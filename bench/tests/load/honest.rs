//! Does it tell the truth? Stalls of known length, rates, and what is done with the generator's own faults.

use crate::fake::{Fake, is};
use crate::{measured, on_some_try};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Waits for the first request, then stalls a second from there for half a second.
fn stall_after_begin(server: Fake) -> std::thread::JoinHandle<Fake> {
    std::thread::spawn(move || {
        while server.requests() == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        server.stall(Duration::from_millis(1_000), Duration::from_millis(500));
        std::thread::sleep(Duration::from_millis(3_000));
        server
    })
}

#[test]
fn an_open_loop_shows_a_stall_as_users_meet_it() {
    for (name, arrivals) in [("stall-constant", "constant"), ("stall-poisson", "poisson")] {
        on_some_try(|| {
            let server = Fake::prompt();
            let line = format!(
                "--server {} --rate 1000 --arrivals {arrivals} --connections 4 --warmup 0 --duration 2.5s --mix get",
                server.address
            );
            let stalling = stall_after_begin(server);
            let run = measured(name, &line, 0);
            stalling.join().expect("the server lived");
            // Of 2,500 requests the 500 of the stall wait, from 0 to 500 ms, evenly: 20 % wait at all, 10 % for 250 ms
            // and more, 2 % for 450 ms and more. What the machine adds is bounded generously.
            let response = &run.rows[0].latency;
            let waits = |percentile: f64| response.at(percentile).expect("samples") / 1e3;
            assert!((180.0..420.0).contains(&waits(90.0)), "{arrivals}: p90 is {} ms, not about 250", waits(90.0));
            assert!((400.0..700.0).contains(&waits(98.0)), "{arrivals}: p98 is {} ms, not about 450", waits(98.0));
            assert!((470.0..900.0).contains(&(response.max_us.unwrap() / 1e3)), "{arrivals}: {:?}", response.max_us);
            // Only the requests in flight saw it in their service time: four of 2,500, below p99.
            let (_, service) = run.rows[0].other.as_ref().expect("service times");
            assert!(service.at(99.0).unwrap() / 1e3 < 100.0, "{arrivals}: {:?}", service.at(99.0));
            assert!(470.0 <= service.max_us.unwrap() / 1e3);
            // Over time, the stall is a ramp where requests were planned, not a gap.
            let within = run.series.iter().filter(|moment| (1.0..1.4).contains(&moment.at_s));
            assert!(within.clone().count() >= 4 && within.into_iter().all(|moment| moment.max_us > Some(50_000.0)));
        });
    }
}

#[test]
fn a_closed_loop_hides_a_stall_and_its_estimate_does_not() {
    on_some_try(|| {
        let server = Fake::prompt();
        let line = format!("--server {} --connections 4 --warmup 0 --duration 2.5s --mix get", server.address);
        let stalling = stall_after_begin(server);
        let run = measured("stall-closed", &line, 0);
        stalling.join().expect("the server lived");
        let service = &run.rows[0].latency;
        assert!(run.latency_means.contains("under-represented"));
        assert!(470.0 <= service.max_us.unwrap() / 1e3, "the stall is the longest: {:?}", service.max_us);
        assert!(service.at(99.0).unwrap() / 1e3 < 100.0, "but four requests of thousands do not reach p99");
        let (name, estimate) = run.rows[0].other.as_ref().expect("an estimate");
        assert!(name.contains("corrected"));
        // A fifth of the time was stalled: p90 lies in the middle of it.
        let p90_ms = estimate.at(90.0).unwrap() / 1e3;
        assert!((100.0..600.0).contains(&p90_ms), "{p90_ms}");
    });
}

#[test]
fn the_rate_is_that_which_was_asked_for() {
    for (name, arrivals, slack) in [("rate-constant", "constant", 3.0), ("rate-poisson", "poisson", 250.0)] {
        on_some_try(|| {
            let server = Fake::prompt();
            let line = format!(
                "--server {} --rate 2k --arrivals {arrivals} -c 8 -t 2 --warmup 200ms --duration 1.5s --mix get:3,set:1",
                server.address
            );
            let run = measured(name, &line, 0);
            let planned = run.counts.unwrap().planned as f64;
            assert!((planned - 3_000.0).abs() <= slack, "{arrivals}: {planned}");
            let set = run.rows.iter().find(|row| row.name == "SET").unwrap().latency.count.unwrap() as f64;
            assert!((set / planned - 0.25).abs() < 0.04, "{set}");
            assert!(run.generator.unwrap().lateness.count.unwrap() as f64 == planned, "lateness of each is known");
        });
    }
}

#[test]
fn what_a_server_cannot_take_is_said() {
    on_some_try(|| {
        // A millisecond for each request, on two connections: two thousand per second at most.
        let server = Fake::start(|_| {
            std::thread::sleep(Duration::from_millis(1));
            b"+OK\r\n".to_vec()
        });
        let line = format!("--server {} --rate 10k -c 2 --warmup 0 --duration 1s --mix get", server.address);
        let run = measured("overload", &line, 1);
        // What came after the end was no part of what it did in that second.
        assert!(run.rows[0].per_s.unwrap() <= 2_000.0, "more than it can do: {:?}", run.rows[0].per_s);
        let counts = run.counts.unwrap();
        assert_eq!(counts.planned, 10_000);
        assert!(7_000 < counts.unsent, "{counts:?}");
        assert!(run.warnings.iter().any(|warning| warning.contains("found no free connection")), "{:?}", run.warnings);
        // Unsent requests are in the distribution, or the median would be that of the lucky ones.
        assert!(100_000.0 < run.rows[0].latency.at(50.0).unwrap());
        // It was the server's fault, and the lateness does not claim it.
        let lateness = &run.generator.as_ref().unwrap().lateness;
        assert!(lateness.at(50.0).unwrap() < 50_000.0, "{:?}", lateness.at(50.0));
    });
}

#[test]
fn what_was_never_sent_is_in_the_rows_of_its_command() {
    on_some_try(|| {
        // Fifty answers, then none.
        let told = AtomicU64::new(0);
        let server = Fake::start(move |arguments| {
            let is_mute = !is(arguments, "PING") && 50 <= told.fetch_add(1, Ordering::Relaxed);
            if is_mute { Vec::new() } else { b"+OK\r\n".to_vec() }
        });
        let line = format!("--server {} --rate 500 -c 5 -w 0 -d 1s --timeout 1s --mix get:3,set:1", server.address);
        let run = measured("unsent-rows", &line, 1);
        let counts = run.counts.unwrap();
        assert!((counts.planned, 300 < counts.unsent) == (500, true), "{counts:?}");
        let count = |at: usize| run.rows[at].latency.count.unwrap();
        assert_eq!((count(0), count(1) + count(2)), (500, 500));
        assert!((300..450).contains(&count(1)), "three in four are GETs: {}", count(1));
        for row in &run.rows {
            assert!(100_000.0 < row.latency.at(50.0).unwrap(), "{}: {:?}", row.name, row.latency.at(50.0));
        }
    });
}

#[test]
fn counted_runs_send_exactly_so_many() {
    for (name, more) in [("count-closed", "-c 10 -P 8 -t 3"), ("count-open", "--rate 5k -c 7 -t 2")] {
        on_some_try(|| {
            let server = Fake::prompt();
            let line = format!("--server {} {more} --warmup 0 -n 1234 --mix get,set,ping", server.address);
            let run = measured(name, &line, 0);
            assert_eq!((run.counts.unwrap().answered, server.requests() >= 700), (1234, true));
        });
    }
}

#[test]
fn what_a_ramp_offers_is_its_mean_however_long_it_is() {
    for (name, extent) in [("ramp-count", "-n 500"), ("ramp-time", "-d 1s")] {
        let server = Fake::prompt();
        let line = format!("--server {} --rate 1000 --ramp 1s -c 5 -w 0 {extent} --mix get", server.address);
        let offered = measured(name, &line, 0).offered_per_s.unwrap();
        assert!((offered - 500.0).abs() < 1.0, "{extent}: {offered}");
    }
}

#[test]
fn the_warm_up_is_not_measured() {
    on_some_try(|| {
        let server = Fake::prompt();
        let line = format!("--server {} --rate 1000 -c 2 --warmup 1s --duration 500ms --mix get", server.address);
        let run = measured("warm-up", &line, 0);
        assert_eq!(run.counts.unwrap().planned, 500);
        assert!(1_400 <= server.requests(), "{}", server.requests());
    });
}
