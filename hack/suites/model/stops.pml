/*
 * The protocol of making secrets against stopping them. docs/explanation/model.md explains it, and names the functions
 * that take these steps.
 *
 * One atomic action is one operation of the API server. Between any two of them the other processes may take any number
 * of steps, and a process may stay where it is for ever. So slowness and lag need no process of their own. A portal
 * accepts each secret that was ever good, because its feed may lag by any time. A gateway reads each kind of object at a
 * time of its own, once the stop is over: it has caught up with the stop, and with nothing later.
 *
 * -DSTOP=... says what is stopped. Each mutation (-DREAD_FIRST and so on) changes the protocol in one place. check.sh
 * runs all stops without a mutation, and each mutation with a stop that it breaks.
 */

/* Secrets, as bits. Each has an APIToken, but FRESH and a rotation belong to that of PARENT. */
#define PARENT 1  /* alice's, in another namespace than the site; every stop of one token stops it */
#define OTHER 2   /* alice's too, in the namespace of the site */
#define BOBS 4    /* of another user */
#define MADE1 8   /* made by portal 1 with PARENT */
#define MADE2 16  /* made by portal 2: with PARENT, with MADE1, in a session of alice, or a rotation of PARENT by itself */
#define FRESH 32  /* the new secret of PARENT, if the stop is a rotation */
#define SESSION 0 /* instead of a parent */
#define OLD (PARENT | OTHER | BOBS)

mtype = { DELETE, SUSPEND, ROTATE, DELETE_TREE, DELETE_ALL, EPOCH, BLOCK, CLOSE, SAME_SITE, OTHER_SITE };
mtype stop;

/* In the API server. */
byte tokens = OLD;    /* APITokens that exist */
byte recorded = OLD;  /* secrets in records */
byte marked = OTHER;  /* APITokens with the annotation `pending`: somebody wrote it on this one */
byte replaced;        /* secrets that a rotation ended */
bool suspended;       /* PARENT */
bool blocked, closed; /* alice in `blockedUsers`; the namespace of PARENT not in `allowedNamespaces` */
byte uid = 1, epoch;  /* of the site; uid 0: there is none */
byte created;         /* the second in which the site was made again */
byte projectedUID = 1, projectedEpoch; /* the controller's memory of the site, as the gateway and the portal read it */

/* In the world. Two ticks are a second. */
byte now = 3;
byte issued[6];       /* by INDEX */
byte known = OLD;     /* secrets that somebody holds */
byte before;          /* those that somebody held when the stop began */
bool answered;        /* the stop */
byte parent2;         /* of MADE2 */
bool rotation;        /* MADE2 is one */
byte site2 = 1;       /* the site that portal 2 knew when it made MADE2, by UID */
byte ahead;           /* ticks by which the clock of portal 2 is fast */

#define INDEX(s) ((s) == 1 -> 0 : ((s) == 2 -> 1 : ((s) == 4 -> 2 : ((s) == 8 -> 3 : ((s) == 16 -> 4 : 5)))))
#define TOKEN_OF(s) (((s) == FRESH || ((s) == MADE2 && rotation)) -> PARENT : (s))
#define MADE2_BY_TOKEN (parent2 != SESSION)
#define CHILDREN (MADE1 | (MADE2_BY_TOKEN -> MADE2 : 0))
#define SESSIONS (MADE2_BY_TOKEN -> 0 : MADE2)
#define SECOND(t) ((t) / 2 * 2)
#define OVER (answered && (stop != EPOCH || now >= epoch))

#ifdef EPOCH_NOW
#define NEW_EPOCH SECOND(now)
#else
#define NEW_EPOCH (SECOND(now) + 4)
#endif

/* Secrets whose namespace, or recorded namespace of origin, is that of PARENT. */
#if defined(NO_ORIGIN)
#define AWAY (PARENT | FRESH | (rotation -> MADE2 : 0))
#elif defined(NEAREST_ORIGIN)
#define AWAY (PARENT | FRESH | MADE1 | (parent2 == PARENT -> MADE2 : 0))
#else
#define AWAY (PARENT | FRESH | CHILDREN)
#endif

/* A portal refuses before the epoch of the site, and before the one that the controller remembers. */
#define EPOCH_AT(of) ((of) == projectedUID && projectedEpoch > epoch -> projectedEpoch : epoch)

#ifdef READ_FIRST
#define ISSUED(of) (now + fast)
#else
#define ISSUED(of) issued[INDEX(of)]
#endif

/* read live: the parent, its record, then the site */
inline readLive() {
	if
	:: parent == SESSION
	:: else ->
		atomic { refused = refused || !(tokens & TOKEN_OF(parent)) || (TOKEN_OF(parent) == PARENT && suspended) };
#ifndef NO_RECORD
		atomic { refused = refused || (replaced & parent) }
#endif
	fi;
	atomic {
		refused = refused || ISSUED(made) < EPOCH_AT(site) || blocked || (closed && (AWAY & made));
#ifndef ANY_UID
		refused = refused || uid != site;
#endif
#ifndef OWN_EPOCH
		if
		:: parent == SESSION
		:: else -> refused = refused || issued[INDEX(parent)] < EPOCH_AT(site)
		fi
#endif
	}
}

proctype Portal(byte made, parent, fast) {
	byte site = 1;
	bool late, refused;

	/* The request comes. */
end:	atomic {
		(known & parent) == parent;
		late = OVER;
		if
		:: true
		:: uid == 2 && projectedUID == 2 && parent == SESSION -> site = 2
		fi;
		if
		:: made == MADE2 -> site2 = site
		:: else
		fi
	}
#ifdef READ_FIRST
	readLive();
#endif
	atomic { /* write child */
		if
		:: TOKEN_OF(made) == made -> tokens = tokens | made; marked = marked | made
		:: else
		fi
	};
	atomic { /* write record: a rotation changes the record that it has read */
		if
		:: TOKEN_OF(made) == made || !(replaced & parent) -> recorded = recorded | made; issued[INDEX(made)] = now + fast
		:: TOKEN_OF(made) != made && (replaced & parent) -> goto gone
		:: TOKEN_OF(made) == made -> goto gone /* it ends here; everywhere else that is the same as never going on */
		fi
	};
#if !defined(READ_FIRST) && !defined(NO_REREAD)
	readLive();
#endif
	atomic {
		if
		:: refused && TOKEN_OF(made) == made -> tokens = tokens & ~made /* take back */
		:: refused && TOKEN_OF(made) != made -> recorded = recorded & ~made
		:: !refused && (tokens & TOKEN_OF(made)) -> /* finish, and answer */
			marked = marked & ~made;
			known = known | made;
			/* What a stopped secret asks for after the stop is over is not made. */
			assert(!late || parent == SESSION || (parent == MADE1 && (stop == DELETE || stop == SUSPEND || stop == ROTATE)));
			assert(!late || stop != BLOCK)
		:: !refused && !(tokens & TOKEN_OF(made)) /* not found: the answer is an error */
		fi;
gone:		late = false; refused = false; site = 0
	}
}

#ifdef LIST_CACHE
#define LISTED (OLD)
#elif defined(MARK_HIDES)
#define LISTED (tokens & ~marked)
#else
#define LISTED tokens
#endif
proctype Stopper() {
	byte found;

	before = known;
	if /* write the stop; the deletion of many begins with list live */
	:: stop == DELETE -> tokens = tokens & ~PARENT
	:: stop == SUSPEND -> suspended = true
	:: stop == ROTATE -> atomic {
			replaced = replaced | (PARENT | (rotation -> MADE2 : 0)) & recorded;
			recorded = recorded | FRESH;
			known = known | FRESH;
			issued[INDEX(FRESH)] = now
		}
	:: stop == DELETE_TREE || stop == DELETE_ALL ->
		do
		:: atomic { /* list live */
				found = LISTED & (stop == DELETE_TREE -> (PARENT | CHILDREN) : ~BOBS);
				if
				:: found & tokens
				:: else -> break
				fi
			};
			do /* delete one after the other, in any order */
			:: atomic { found & PARENT -> found = found & ~PARENT; tokens = tokens & ~PARENT }
			:: atomic { found & OTHER -> found = found & ~OTHER; tokens = tokens & ~OTHER }
			:: atomic { found & MADE1 -> found = found & ~MADE1; tokens = tokens & ~MADE1 }
			:: atomic { found & MADE2 -> found = found & ~MADE2; tokens = tokens & ~MADE2 }
			:: found == 0 -> break
			od
#ifdef LIST_ONCE
			; break
#endif
		od
	:: stop == EPOCH -> epoch = NEW_EPOCH
	:: stop == BLOCK -> blocked = true
	:: stop == CLOSE -> closed = true
	:: stop == SAME_SITE || stop == OTHER_SITE ->
		uid = 0;
		atomic { uid = 2; epoch = 0; created = SECOND(now) }
	fi;
	answered = true
}

proctype Controller() {
	byte seen, seenUID, seenEpoch;
end:	do
	:: atomic { /* take back: the mark counts only without a record; both are read live */
#ifdef MARK_COUNTS
			(tokens & marked) -> seen = tokens & marked
#else
			(tokens & marked & ~recorded) -> seen = tokens & marked & ~recorded
#endif
		};
#ifdef NO_PRECONDITION
		atomic { tokens = tokens & ~seen; seen = 0 }
#else
		atomic { tokens = tokens & ~(seen & marked); seen = 0 } /* unless the APIToken was changed since */
#endif
	:: atomic { /* remember */
			uid != 0 && (projectedUID != uid || projectedEpoch < epoch) -> seenUID = uid; seenEpoch = epoch
		};
		atomic {
			if
#ifdef TIME_CUT
			:: seenUID != projectedUID && stop == OTHER_SITE -> projectedEpoch = created
#else
			:: seenUID != projectedUID && stop == OTHER_SITE -> projectedEpoch = created + 2
#endif
#ifdef FORGETFUL
			:: seenUID != projectedUID && stop == SAME_SITE -> projectedEpoch = seenEpoch
#endif
			:: else -> projectedEpoch = (projectedEpoch > seenEpoch -> projectedEpoch : seenEpoch)
			fi;
			projectedUID = seenUID; seenUID = 0; seenEpoch = 0
		}
	od
}

/* Only the order of times counts: now, almost at the epoch, at the epoch. */
proctype Clock() {
end:	answered && (stop == EPOCH || stop == OTHER_SITE);
	if
	:: stop == EPOCH -> now = 5
	:: else
	fi;
	now = 6
}

/* Secrets that the stop must end, and those that it must not. */
inline expect() {
	if
	:: stop == DELETE || stop == SUSPEND -> dead = PARENT | (rotation -> MADE2 : 0); alive = ~dead
	:: stop == ROTATE -> dead = PARENT; alive = ~(PARENT | (rotation -> MADE2 : 0))
	:: stop == DELETE_TREE -> dead = PARENT | CHILDREN; alive = ~dead
	:: stop == DELETE_ALL -> dead = PARENT | OTHER | CHILDREN | (before & MADE2); alive = BOBS
	:: stop == EPOCH -> dead = OLD | CHILDREN | (before & MADE2); alive = (issued[INDEX(MADE2)] >= epoch -> SESSIONS : 0)
	:: stop == BLOCK -> dead = ~BOBS; alive = BOBS
	:: stop == CLOSE -> dead = PARENT | CHILDREN; alive = ~dead
	:: stop == SAME_SITE -> dead = PARENT | CHILDREN; alive = ~dead
	:: stop == OTHER_SITE -> dead = OLD | CHILDREN | (site2 == 1 -> MADE2 : 0); alive = ~dead
	fi
}

/* A gateway that has caught up with the stop judges every secret that somebody holds. */
proctype Gateway() {
	byte held, dead, alive, good;
	byte hasTokens, hasRecords, hasUID, hasEpoch, hasProjectedUID, hasProjectedEpoch;
	bool hasBlocked, hasClosed, hasSuspended;
	byte left = 7, after, s = 1;

end:	atomic { OVER -> held = known };
	do
	:: atomic { left & 1 -> left = left - 1; hasTokens = tokens; hasSuspended = suspended; hasRecords = recorded & ~replaced }
	:: atomic { left & 2 -> left = left - 2; hasUID = uid; hasEpoch = epoch; hasBlocked = blocked; hasClosed = closed }
	:: atomic { left & 4 -> left = left - 4; hasProjectedUID = projectedUID; hasProjectedEpoch = projectedEpoch }
	:: left == 0 -> break
	od;
	atomic { /* judge */
		expect();
		after = (hasEpoch > hasProjectedEpoch -> hasEpoch : hasProjectedEpoch);
#ifdef ANY_MEMORY
		after = hasEpoch;
#endif
		good = hasRecords;
		if :: hasBlocked -> good = good & BOBS :: else fi;
		if :: hasClosed -> good = good & ~AWAY :: else fi;
		do
		:: s <= FRESH ->
			if
			:: issued[INDEX(s)] < after || !(hasTokens & TOKEN_OF(s)) || (hasSuspended && TOKEN_OF(s) == PARENT) -> good = good & ~s
			:: else
			fi;
			s = s * 2
		:: else -> break
		od;
#ifndef ANY_MEMORY
		if :: hasUID != hasProjectedUID -> good = 0 :: else fi; /* cannot decide */
#endif
		assert(!(good & known & dead));
		assert(hasUID != hasProjectedUID || (held & alive & ~good) == 0)
	}
}

/* In the end no APIToken is hidden: marked, and without a record. */
proctype End() {
	timeout -> assert(!(tokens & marked & ~recorded))
}

init {
	atomic {
		stop = STOP;
		if
		:: stop == EPOCH -> ahead = 1 /* more than a clock may be wrong */
		:: stop == SAME_SITE -> epoch = 2; projectedEpoch = 2 /* PARENT is dead already, and must not come back */
		:: else
		fi;
		if
		:: parent2 = SESSION
		:: parent2 = PARENT
		:: parent2 = PARENT; rotation = true
		:: parent2 = MADE1
		fi;
		issued[INDEX(OTHER)] = now; issued[INDEX(BOBS)] = now;
		run Portal(MADE1, PARENT, 0);
		run Portal(MADE2, parent2, ahead);
		run Stopper();
		run Controller();
		run Gateway();
		run Clock();
		run End()
	}
}
