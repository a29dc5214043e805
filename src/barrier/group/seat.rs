// SPDX-License-Identifier: GPL-2.0

//! The state of one party of a group.
//!
//! It is allocated when the party joins and charged to the user who joins. The party's descriptor
//! and the group share it: the group needs it until another party has the seat, because the arrival
//! of an ended party counts.

use super::Group;
use crate::{
    barrier::{
        Cause,
        End,
        Pid, //
    },
    bindings::uapi::{
        QUIESCE_MAX_PARTIES,
        QUIESCE_OUTCOMES, //
    },
    device::quota::Charge, //
};
use core::{
    cell::UnsafeCell,
    convert::Infallible,
    pin::Pin, //
};
use kernel::{
    prelude::*,
    sync::{
        aref::ARef,
        Arc,
        UniqueArc, //
    }, //
};
use pin_init::{
    cast_init,
    init_array_from_fn,
    Wrapper, //
};

/// Number of arrivals of a party that are kept.
const OUTCOMES: usize = QUIESCE_OUTCOMES as usize;

/// The reason why a phase did not end well.
#[derive(Clone)]
pub(super) enum Failure {
    /// A reset ended it.
    Reset,
    /// The phase was broken, and then reset.
    Broken(Cause),
}

/// One arrival, and the end of its phase.
#[derive(Default)]
pub(super) struct Arrived {
    /// The phase; 0 is none.
    pub(super) ticket: u64,
    /// Number of parties that arrived before it in that phase.
    pub(super) index: u32,
    /// Whether the party leads that phase.
    pub(super) led: bool,
    /// A wait has reported how the phase ended.
    pub(super) reported: bool,
    /// The wait that arrived has ended before the phase did, and may be resumed.
    pub(super) suspended: bool,
    /// The reason why the phase did not end well, known once the group is reset.
    pub(super) failed: Option<Failure>,
}

impl Arrived {
    pub(super) fn new(ticket: u64, index: u32) -> Self {
        Self {
            ticket,
            index,
            ..Self::default()
        }
    }
}

/// The state of one party.
pub(super) struct SeatState {
    /// Its last arrivals, of which `newest` is the last one.
    arrivals: [Arrived; OUTCOMES],
    newest: usize,
    pub(super) waiting: u32,
    pub(super) left: bool,
    pub(super) ended: bool,
    pub(super) bound: bool,
    /// The end of the party; before that, the process that closed a copy of its descriptor last.
    pub(super) end: End,
    pub(super) owner: Option<ARef<Pid>>,
}

impl SeatState {
    /// The process that the party ends with, if there is one.
    pub(super) fn bound_owner(&self) -> Option<&ARef<Pid>> {
        self.owner.as_ref().filter(|_| self.bound)
    }

    /// Whether the process that the party ends with, if there is one, is dead.
    pub(super) fn owner_ended(&self) -> bool {
        self.bound_owner()
            .is_some_and(|owner| owner.ended().is_some())
    }

    /// A party that has not joined yet.
    fn new() -> impl Init<Self> {
        init!(Self {
            arrivals <- init_array_from_fn::<_, OUTCOMES, _, Infallible>(|_| Arrived::default()),
            newest: 0,
            waiting: 0,
            left: false,
            ended: false,
            bound: false,
            end: End::default(),
            owner: None,
        })
    }

    /// Whether the party has left or ended.
    pub(super) fn hung_up(&self) -> bool {
        self.left || self.ended
    }

    /// Its last arrival; of ticket 0 before the first.
    pub(super) fn newest(&self) -> &Arrived {
        &self.arrivals[self.newest]
    }

    pub(super) fn newest_mut(&mut self) -> &mut Arrived {
        &mut self.arrivals[self.newest]
    }

    /// The oldest arrival that is known; of ticket 0 if there is room for another.
    pub(super) fn oldest(&self) -> &Arrived {
        &self.arrivals[(self.newest + 1) % self.arrivals.len()]
    }

    /// Records an arrival, and forgets the oldest one.
    pub(super) fn push(&mut self, arrived: Arrived) {
        self.newest = (self.newest + 1) % self.arrivals.len();
        self.arrivals[self.newest] = arrived;
    }

    /// The arrival with `ticket`, if it is one of the last.
    pub(super) fn find(&self, ticket: u64) -> Option<&Arrived> {
        self.arrivals
            .iter()
            .find(|arrived| ticket != 0 && arrived.ticket == ticket)
    }

    pub(super) fn find_mut(&mut self, ticket: u64) -> Option<&mut Arrived> {
        self.arrivals
            .iter_mut()
            .find(|arrived| ticket != 0 && arrived.ticket == ticket)
    }
}

/// # Invariants
///
/// Once the cell is shared, `state` is accessed only with a reference to the group of number
/// `group`, which there is one of: a shared reference for reading, an exclusive one for writing.
#[pin_data]
struct SeatCell {
    group: u64,
    #[pin]
    state: UnsafeCell<SeatState>,
    /// The charge for the memory: a group keeps it longer than the descriptor is open.
    _charge: Option<Charge>,
}

// SAFETY: The only field is a cell of a `SeatState`, which is `Send`.
unsafe impl Send for SeatCell where SeatState: Send {}
// SAFETY: By the type invariants `state` is accessed as a member of its group would be.
unsafe impl Sync for SeatCell where SeatState: Send + Sync {}

/// A party of a group.
///
/// It owns the party's state, so that this is there as long as the party's descriptor.
#[derive(Clone)]
pub struct Seat {
    number: u32,
    cell: Arc<SeatCell>,
}

impl Seat {
    /// Returns the number of the party.
    pub fn party(&self) -> u32 {
        self.number
    }
}

/// Number of tenants that are allocated at a time.
const CHUNK: usize = 64;

/// Number of chunks of a full group.
const CHUNKS: usize = QUIESCE_MAX_PARTIES as usize / CHUNK;

type Chunk = [Option<Seat>; CHUNK];

fn no_tenants() -> impl Init<Chunk> {
    init_array_from_fn(|_| None)
}

/// The party that has each seat, or the last that had it.
///
/// Memory is taken for as many as have joined, not for as many as may.
#[repr(transparent)]
pub(super) struct Tenants([Option<KBox<Chunk>>; CHUNKS]);

impl Tenants {
    pub(super) fn new() -> impl Init<Self> {
        let none = init_array_from_fn::<_, CHUNKS, _, Infallible>(|_| None::<KBox<Chunk>>);
        // SAFETY: `Tenants` is `repr(transparent)`, so an initialised field is an initialised
        // `Tenants`.
        unsafe { cast_init(none) }
    }

    pub(super) fn get(&self, number: u32) -> Option<&Seat> {
        let n = number as usize;
        self.0.get(n / CHUNK)?.as_ref()?[n % CHUNK].as_ref()
    }

    /// Sets the tenant of seat `number`, with `spare` for the memory if it is the first there.
    fn set(&mut self, number: u32, tenant: Seat, spare: KBox<Chunk>) {
        let n = number as usize;
        if let Some(chunk) = self.0.get_mut(n / CHUNK) {
            chunk.get_or_insert(spare)[n % CHUNK] = Some(tenant);
        }
    }
}

/// The memory of a party that is about to join.
pub struct NewSeat {
    cell: Pin<UniqueArc<SeatCell>>,
    chunk: KBox<Chunk>,
}

impl NewSeat {
    /// Allocates it, charged to the calling task.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub fn new() -> Result<Self> {
        let cell = pin_init!(SeatCell {
            group: 0,
            state <- UnsafeCell::pin_init(SeatState::new()),
            _charge: None,
        });
        Ok(Self {
            cell: UniqueArc::pin_init(cell, GFP_KERNEL_ACCOUNT)?,
            chunk: KBox::init(no_tenants(), GFP_KERNEL_ACCOUNT)?,
        })
    }

    /// Keeps `charge` as long as the memory.
    pub(crate) fn charge(&mut self, charge: Charge) {
        self.cell._charge = Some(charge);
    }

    /// Makes the party the tenant of seat `number`.
    pub(super) fn take(
        self,
        group: u64,
        number: u32,
        tenants: &mut Tenants,
        owner: ARef<Pid>,
        bound: bool,
    ) -> Seat {
        let mut cell = self.cell;
        cell.group = group;
        let state = cell.state.get_mut();
        state.owner = Some(owner);
        state.bound = bound;
        // INVARIANT: From here on the group's methods below are the only ones that access `state`.
        let seat = Seat {
            number,
            cell: cell.into(),
        };
        tenants.set(number, seat.clone(), self.chunk);
        seat
    }
}

impl Group {
    /// The state of the party, or `None` if it is another group's.
    pub(super) fn state<'a>(&'a self, seat: &'a Seat) -> Option<&'a SeatState> {
        // SAFETY: By the type invariants of `Group`, `self` is the group of this number, and it is
        // borrowed as long as the state is.
        (seat.cell.group == self.id.number()).then(|| unsafe { &*seat.cell.state.get() })
    }

    /// The state of the party, or `None` if it is another group's.
    pub(super) fn state_mut<'a>(&'a mut self, seat: &'a Seat) -> Option<&'a mut SeatState> {
        // SAFETY: By the type invariants of `Group`, `self` is the group of this number, and it is
        // borrowed exclusively as long as the state is.
        (seat.cell.group == self.id.number()).then(|| unsafe { &mut *seat.cell.state.get() })
    }

    /// The party that has the seat of this number, or the last that had it.
    pub(super) fn tenant(&self, number: u32) -> Option<&SeatState> {
        self.state(self.tenants.get(number)?)
    }

    /// The party that has the seat of this number, or the last that had it.
    pub(super) fn tenant_mut(&mut self, number: u32) -> Option<&mut SeatState> {
        let seat = self.tenants.get(number)?;
        // SAFETY: `join` made the party for this group, which is borrowed exclusively as long as
        // the state is.
        Some(unsafe { &mut *seat.cell.state.get() })
    }

    /// Whether the party has its seat, or was the last that had it.
    pub(super) fn is_tenant(&self, seat: &Seat) -> bool {
        self.tenants
            .get(seat.number)
            .is_some_and(|tenant| Arc::ptr_eq(&tenant.cell, &seat.cell))
    }
}
