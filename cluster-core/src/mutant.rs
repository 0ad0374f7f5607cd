//! Bugs on purpose: a check is worth the bugs it finds.
//!
//! Only builds for testing contain them: the crate's own unit tests, and builds with `--cfg cluster_mutants`, in which
//! each thread has the bug that it chose, or none.

/// Whether the named bug is switched on.
#[cfg(any(test, cluster_mutants))]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::Mutant::$name.is_on()
    };
}

/// Whether the named bug is switched on: never.
#[cfg(not(any(test, cluster_mutants)))]
macro_rules! mutant {
    ($name:ident) => {
        $crate::mutant::off()
    };
}

pub(crate) use mutant;

#[cfg(not(any(test, cluster_mutants)))]
#[inline(always)]
pub(crate) fn off() -> bool {
    false
}

#[cfg(any(test, cluster_mutants))]
pub use chosen::Mutant;

#[cfg(any(test, cluster_mutants))]
mod chosen {
    extern crate std;

    use core::cell::Cell;
    use std::thread_local;

    thread_local! {
        static CHOSEN: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    /// A bug that can be switched on for all nodes of a thread.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Mutant {
        /// Ranks links by the dialer's id alone, and trusts the one it has: the folklore rule "the greater id wins".
        GreaterIdWins,
        /// Gives up the own dial once an inbound claim of the same run was granted.
        CancelDialOnAccept,
        /// Refuses inbound claims of a run that is being dialled.
        RefuseWhileDialing,
        /// Does not probe the live link when a newcomer is refused.
        NoProbe,
        /// Accepts the grant of a claim although a link of a higher rank was live meanwhile.
        OutdatedAccept,
        /// Takes the end of any link to a peer for the end of the one that connects the two.
        EndsByPeer,
        /// Does not remember who has left or was removed.
        NoTombstone,
        /// Takes a connection that stands for one that lasts.
        BackoffResetAtConnect,
        /// Announces who is named by others as a peer.
        BelieveHearsay,
        /// Does not remember that an address leads to itself.
        DialSelf,
        /// Dials a lost peer only once.
        GiveUpOnLost,
        /// Never declares a silent peer dead.
        NoTimeout,
        /// Never asks whether a silent peer is alive.
        NoHeartbeat,
        /// Lets a dial that is never answered take its time.
        NoHandshakeDeadline,
        /// Takes an earlier run of a node for a later one.
        AnyIncarnation,
        /// Delivers to the next run of a node what was accepted for the one before.
        InheritSession,
        /// Forgets to tell what was not delivered.
        SilentLoss,
        /// Adds credit to what was there, although it is absolute.
        CreditAsDelta,
        /// Sends one byte more than it has credit for.
        WindowOffByOne,
        /// Grants all memory to each peer.
        GrantEverything,
        /// Says how far a stream has come, and only then stops reading the link that carries it.
        FenceAfterOffer,
        /// Acknowledges a message that has arrived, although nobody has taken it.
        AckOnReceive,
        /// Drops from the log of a sender what the receiver has received, instead of what it has consumed.
        TrimAtReceived,
        /// Drops the part of a message when its link is lost, and says that it has it.
        ForgetPartial,
        /// Keeps what was accepted for a lost peer for ever.
        NeverExpire,
        /// Lets one peer fill the table of those who are known from hearsay.
        NoQuota,
        /// Answers an answer.
        EchoPongs,
        /// Takes only whole frames for signs of life, not the bytes that arrive of the next one.
        FramesAlone,
        /// Says nothing while bytes arrive, until the application has taken something.
        SilentReceiver,
        /// Hands out all that the credit allows, however slow the link is.
        BoundlessFlight,
    }

    impl Mutant {
        /// Every bug there is.
        pub const ALL: &[Mutant] = &[
            Mutant::GreaterIdWins,
            Mutant::CancelDialOnAccept,
            Mutant::RefuseWhileDialing,
            Mutant::NoProbe,
            Mutant::OutdatedAccept,
            Mutant::EndsByPeer,
            Mutant::NoTombstone,
            Mutant::BackoffResetAtConnect,
            Mutant::BelieveHearsay,
            Mutant::DialSelf,
            Mutant::GiveUpOnLost,
            Mutant::NoTimeout,
            Mutant::NoHeartbeat,
            Mutant::NoHandshakeDeadline,
            Mutant::AnyIncarnation,
            Mutant::InheritSession,
            Mutant::SilentLoss,
            Mutant::CreditAsDelta,
            Mutant::WindowOffByOne,
            Mutant::GrantEverything,
            Mutant::FenceAfterOffer,
            Mutant::AckOnReceive,
            Mutant::TrimAtReceived,
            Mutant::ForgetPartial,
            Mutant::NeverExpire,
            Mutant::NoQuota,
            Mutant::EchoPongs,
            Mutant::FramesAlone,
            Mutant::SilentReceiver,
            Mutant::BoundlessFlight,
        ];

        /// Switches a bug on, instead of any other, for all nodes of this thread; `None`: no bug.
        pub fn choose(mutant: Option<Mutant>) {
            CHOSEN.set(mutant);
        }

        pub(crate) fn is_on(self) -> bool {
            CHOSEN.get() == Some(self)
        }
    }
}
