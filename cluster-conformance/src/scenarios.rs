//! Every scenario, and the macro that makes a test of each.

mod bind;
mod end;
mod hostile;
mod membership;
mod messages;
mod pressure;
mod secret;
mod session;
mod wire;

use crate::run::Scenario;

/// One list for the table and for the macro.
macro_rules! scenarios {
    ($($about:literal: $module:ident { $($(#[$sockets:ident])? $name:ident)* })*) => {
        /// Every scenario.
        pub static SCENARIOS: &[Scenario] = &[$($(
            Scenario {
                name: stringify!($name),
                about: $about,
                needs_sockets: scenarios!(@ $($sockets)?),
                play: $module::$name,
            },
        )*)*];

        /// Makes a `#[test]` of every scenario. Its argument makes a new [`Arm`](crate::Arm): an expression that is a
        /// function without arguments, called on a thread of its own for each scenario.
        ///
        /// ```
        /// # use cluster_conformance::{Arm, BindFailure, TestNode};
        /// # use cluster_core::Config;
        /// struct MyArm;
        ///
        /// impl Arm for MyArm {
        /// #   fn name(&self) -> String { "mine".into() }
        /// #   fn bind(&self, _: &str, _: Config) -> Result<Box<dyn TestNode>, BindFailure> {
        /// #       Err(BindFailure::Other("it is only an example".into()))
        /// #   }
        ///     // ...
        /// }
        ///
        /// mod my_adapter {
        ///     cluster_conformance::conformance!(|| super::MyArm);
        /// }
        /// ```
        #[macro_export]
        macro_rules! conformance {
            ($make:expr) => {
                $($(
                    #[test]
                    fn $name() {
                        $crate::run(stringify!($name), $make);
                    }
                )*)*
            };
        }
    };
    (@) => { false };
    (@ sockets) => { true };
}

scenarios! {
    "bind": bind {
        a_node_listens_at_a_port_of_its_own
        #[sockets] an_address_in_use_is_an_error_that_names_it
        a_config_that_contradicts_itself_makes_no_node_and_changes_none
        settings_change_while_the_node_runs
        #[sockets] only_the_given_host_is_bound
    }
    "bad input": bind {
        a_name_that_cannot_be_resolved_fails_the_join_with_the_reason
        a_join_where_nobody_listens_fails_with_the_reason
        a_node_that_joins_itself_is_told_so
        #[sockets] strangers_are_no_peers_and_get_no_answer
        after_leaving_every_verb_refuses
    }
    "join": membership {
        a_join_makes_two_peers_that_both_say_so
        joining_a_peer_again_succeeds_at_once_and_changes_nothing
        crossed_joins_leave_one_connection
        joining_one_is_joining_all
        chain_of_seeds_becomes_a_mesh
        seed_that_refuses_is_joined_when_it_comes_up
        nodes_of_different_clusters_do_not_meet
        #[sockets] name_is_resolved_and_every_record_is_tried
        #[sockets] node_at_every_address_is_known_by_the_one_it_is_seen_at
    }
    "by way of": membership {
        a_node_joins_by_way_of_a_forwarded_port
        lost_peer_is_reconnected_over_a_forwarded_port
        a_seed_is_dialled_until_somebody_answers
    }
    "exchange": membership {
        changed_metadata_is_told_to_every_peer
        newcomers_are_told_by_those_who_know_them
    }
    "limits": membership {
        a_full_node_takes_nobody_more
    }
    "disconnect": membership {
        a_disconnected_peer_stays_away_until_a_user_joins
    }
    "send": messages {
        messages_go_back_and_forth
        a_receiver_that_waits_is_woken
        a_message_to_a_stranger_is_refused
    }
    "broadcast": messages {
        a_broadcast_reaches_every_peer_and_says_whom
    }
    "order": messages {
        messages_arrive_once_in_order_and_unchanged
        many_senders_are_told_apart
    }
    "large messages": messages {
        messages_of_every_length_up_to_the_cap_arrive
        message_of_sixteen_mebibytes_arrives_whole
        a_message_above_the_cap_is_refused_and_given_back
    }
    "back-pressure": pressure {
        a_peer_that_takes_nothing_fills_up_and_stays_a_peer
        a_send_waits_for_room_and_goes_on_when_there_is_some
        a_send_that_waits_is_told_when_the_peer_leaves
        waiting_send_fails_when_its_own_node_leaves
        a_slow_peer_slows_nobody_else
    }
    "flush": pressure {
        a_flush_waits_until_everything_is_taken
        a_flush_of_a_stranger_is_refused
        a_flush_ends_with_its_node
    }
    "acknowledgement": pressure {
        a_message_counts_as_delivered_when_it_is_taken
        a_message_counts_as_delivered_when_its_user_says_so
    }
    "leave": end {
        leaving_delivers_what_was_sent_and_says_goodbye
        leaving_reports_what_nobody_took
        a_port_is_free_when_its_node_has_left
        #[sockets] received_messages_can_be_taken_after_leaving
        left_node_is_never_dialled_again
    }
    "leave with calls that wait": pressure {
        leaving_ends_every_call_that_waits
    }
    "crash": end {
        a_crash_is_noticed_and_dialled_after
        a_lost_peer_is_forgotten_with_its_messages_reported
        messages_to_the_lost_are_refused_where_that_is_wished
    }
    "restart": end {
        a_node_that_restarts_is_a_later_run_of_itself
        a_node_that_left_comes_back
    }
    "session": session {
        messages_survive_the_cut_of_their_connection
        both_directions_survive_many_cuts
        a_silent_peer_goes_down_in_time_and_comes_back
        a_busy_peer_is_not_taken_for_dead
    }
    "secret": secret {
        who_has_the_same_secret_is_a_peer
        who_has_another_secret_or_none_is_no_peer_and_is_told_nothing
        who_is_taken_off_the_list_is_a_peer_no_more
        a_secret_is_changed_under_traffic_and_no_message_is_lost
        what_is_sent_with_a_secret_survives_the_cut_of_its_connection
    }
    "way": session {
        connections_over_one_way_are_told_apart_by_who_dialled
    }
    "wire": wire {
        #[sockets] a_connection_that_carries_single_bytes_works
        #[sockets] a_connection_that_is_slow_and_torn_works
        #[sockets] a_half_open_connection_is_replaced
        #[sockets] both_directions_and_large_messages_survive_cuts
    }
    "hostile": hostile {
        #[sockets] strangers_are_closed_in_time_and_disturb_no_peer
        #[sockets] a_byte_at_a_time_does_not_extend_the_deadline
        #[sockets] node_whose_hello_comes_back_finds_no_peer
        #[sockets] silent_strangers_beyond_the_cap_do_not_keep_a_peer_out
        #[sockets] handshake_cut_at_any_byte_leaves_no_trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_sentences_and_differ() {
        let names: BTreeSet<&str> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        assert_eq!(names.len(), SCENARIOS.len());
        assert!(names.iter().all(|name| name.split('_').count() >= 4 && Scenario::named(name).is_some()));
    }

    #[test]
    fn only_what_is_about_the_operating_system_needs_it() {
        let needing = SCENARIOS.iter().filter(|scenario| scenario.needs_sockets);
        assert_eq!(needing.count(), 15);
    }
}
