/* SPDX-License-Identifier: GPL-2.0 */
/*
 * hypercall/xen/kernel/owner.c as a model, in which every call to Xen may fail, somebody destroys
 * carriers with xl, and the kernel's core asks for everything that it may ask for.
 *
 * The names are those of owner.c.  What one holder of owner_lock does is atomic here; a call to Xen
 * outside of it is not.  There are two devices in one container, whose carrier comes and goes.
 *
 *      spin -a owner.pml && cc -O1 -DSAFETY -o pan pan.c && ./pan
 */
#define DEVICES 2

/* Of the module: what it believes.  Of Xen: only the first three. */
mtype = { DOM0, QUARANTINE, CARRIER, STUCK, STRANDED };

mtype state[DEVICES] = DOM0;
mtype xen[DEVICES] = DOM0;
bool claimed[DEVICES];		/* VFIO has the group, and a program may start DMA */
bool attached[DEVICES];		/* the core's view: the paging domain is the group's */
bool made;			/* the module has a carrier */
bool alive;			/* Xen has it */
bool kept;			/* its destruction failed, it is tried again */
bool pages;			/* it maps a program's pages, which are pinned or held */

inline set_state(d, to) {
	assert((state[d] == DOM0 && to == QUARANTINE) ||
	       (state[d] == QUARANTINE && (to == DOM0 || to == CARRIER || to == STRANDED)) ||
	       (state[d] == CARRIER && (to == QUARANTINE || to == STUCK)) ||
	       (state[d] == STUCK && to == QUARANTINE) ||
	       (state[d] == STRANDED && to == DOM0));
	state[d] = to
}

inline claim(d, ok) {
	if
	:: xen[d] == DOM0 -> xen[d] = QUARANTINE; ok = true; set_state(d, QUARANTINE)
	:: ok = false
	fi
}

inline attach(d, ok) {
	if
	:: alive && xen[d] == QUARANTINE -> xen[d] = CARRIER; ok = true; set_state(d, CARRIER)
	:: ok = false
	fi
}

inline leave(d) {
	if
	:: !alive -> set_state(d, QUARANTINE)		/* ESRCH */
	:: alive && xen[d] == CARRIER -> xen[d] = QUARANTINE; set_state(d, QUARANTINE)
	:: alive && state[d] == CARRIER -> set_state(d, STUCK)
	:: alive && state[d] == STUCK -> skip
	fi
}

inline home(d) {
	if
	:: xen[d] == QUARANTINE -> xen[d] = DOM0; set_state(d, DOM0)
	:: state[d] == QUARANTINE -> set_state(d, STRANDED)
	:: state[d] == STRANDED -> skip
	fi
}

inline owner_to_quarantine(d, ok) {
	ok = true;
	if
	:: state[d] == STRANDED -> home(d)
	:: else
	fi;
	if
	:: state[d] == DOM0 -> claim(d, ok)
	:: state[d] == CARRIER || state[d] == STUCK -> leave(d)
	:: state[d] == STRANDED -> ok = false
	:: else
	fi
}

inline owner_to_carrier(d, ok) {
	ok = true;
	if
	:: state[d] == CARRIER
	:: else ->
		if
		:: state[d] == STUCK -> leave(d)
		:: state[d] == STRANDED -> home(d)
		:: else
		fi;
		if
		:: state[d] == DOM0 -> claim(d, ok)
		:: else
		fi;
		if
		:: ok && state[d] == QUARANTINE -> attach(d, ok)
		:: else -> ok = false
		fi
	fi
}

inline owner_to_dom0(d) {
	if
	:: state[d] == CARRIER || state[d] == STUCK -> leave(d)
	:: else
	fi;
	if
	:: state[d] == QUARANTINE || state[d] == STRANDED -> home(d)
	:: else
	fi
}

inline xen_destroys() {
	alive = false;
	if
	:: xen[0] == CARRIER -> xen[0] = QUARANTINE
	:: else
	fi;
	if
	:: xen[1] == CARRIER -> xen[1] = QUARANTINE
	:: else
	fi
}

inline owner_carrier_gone() {
	if
	:: state[0] == CARRIER || state[0] == STUCK -> set_state(0, QUARANTINE)
	:: else
	fi;
	if
	:: state[1] == CARRIER || state[1] == STUCK -> set_state(1, QUARANTINE)
	:: else
	fi
}

/* The kernel's core, VFIO and drivers, for one device. */
proctype core(byte d) {
	bool ok;

	do
	:: atomic { !claimed[d] -> owner_to_quarantine(d, ok); claimed[d] = ok }
	:: atomic { claimed[d] && !attached[d] && made && !kept -> owner_to_carrier(d, ok); attached[d] = ok }
	/* Detach; the core ignores no error here, so there must be none. */
	:: atomic { attached[d] -> owner_to_quarantine(d, ok); assert(ok); attached[d] = false }
	/* VFIO lets go of the group, while the container may have the other one. */
	:: atomic { claimed[d] && !attached[d] -> owner_to_dom0(d); claimed[d] = false }
	/* A driver of dom0's is bound. */
	:: atomic { !claimed[d] -> owner_to_dom0(d) }
	od
}

/* The container. */
proctype container() {
	do
	:: atomic { !made && !kept -> made = true; alive = true; pages = true }
	:: atomic { made && !kept && !attached[0] && !attached[1] -> kept = true }
	/* destroydomain, once or again; it may fail, or have been done by xl. */
	:: kept ->
		if
		:: atomic { alive -> xen_destroys() }
		:: alive
		:: !alive
		fi;
		if
		:: atomic { !alive -> owner_carrier_gone() }
			pages = false;
			atomic { made = false; kept = false }
		:: alive
		fi
	od
}

/* xl destroy of what xl list shows. */
proctype xl() {
	do
	:: atomic { alive -> xen_destroys() }
	od
}

/* At any moment. */
active proctype monitor() {
	byte d;

	atomic {
		do
		:: d < DEVICES ->
			/* While a program has a device, it does not reach dom0's memory. */
			assert(!(claimed[d] && xen[d] == DOM0));
			/* What is dom0's by our account is dom0's in Xen. */
			assert(state[d] != DOM0 || xen[d] == DOM0);
			/* Pages are given back only when no device reaches them. */
			assert(pages || xen[d] != CARRIER);
			/* Where we do not believe a device in a carrier, Xen has none. */
			assert(xen[d] != CARRIER || state[d] == CARRIER || state[d] == STUCK);
			d++
		:: else -> break
		od
	}
}

init {
	atomic { run core(0); run core(1); run container(); run xl() }
}
