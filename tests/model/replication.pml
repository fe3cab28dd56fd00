/* The replication protocol as a model for spin: which node may lead, what is committed, and whose word
   counts when disks are lost, replaced, brought back or put back from a copy.

   tests/model/run checks it: all states within the bounds, and that each fault which can be built in
   (M_...: the mutations) is found. Comments say which function of class Core in replication/ carries a
   rule out; the script checks that these functions exist.

   Modelled
   - NODES nodes; the last one has DISKS - NODES + 1 disks, one of them running at a time. All disks in
     the model are told apart by their index: that is their incarnation. A disk that was replaced may
     come back.
   - A log is a row of entries. Each has an epoch and the voters (a set of disks) that hold from it on:
     so every entry is a record of the members, and one that repeats the set is plain data.
   - An epoch is granted to anybody at any time, also twice: the coordinator is not trusted.
   - Messages: what a node has said (Sealed, Acknowledge) is a value that the receiver keeps and may use
     at any later time, so delay is covered; loss is a step that is not taken. A word of an earlier
     epoch or life is dropped by its receiver (Core::on(Received) in the program): it is erased here
     when the role or the life ends.
   - A crash keeps what is durable: the promise and the log; of a leader only what it has flushed. A
     follower's entry is durable when it is acknowledged: what is not yet durable there has no effect.
   - A promise to a life that is over is a promise to GONE: no new life gets that epoch.
   - COPY: the last node's disk is copied once, while it runs (LIVE_COPY 1) or stopped, and the copy is
     put back once, as long as all other voters are up.

   Left out, and why
   - The time after which a life that begins speaks although not all were heard, and after which what an
     absent node told is owed no more (Core::forget_owed): a copy put back and a voter that is absent are
     two failures.
   - That a life hears the others first where no copy was put back: it only refuses more. That a life
     which does so still helps to elect a leader once node 0 is gone is shown (REACH 2).
   - That a leader refuses a life whose log ends below what the same disk acknowledged: one more way to
     notice a copy. The rules hold without it.
   - That a disk which joins has caught up before it gets its vote, and rounds: for availability, and
     for reads; and learners, relays, checkpoints, leases, hand-over, the first start.
   - Faults of the disk itself (see tests/simulation and tests/fasterlog).

   Asserted
   - One life writes in an epoch (win).
   - A leader holds all that was committed in lower epochs (win, commit).
   - What is committed stays: two commits agree entry by entry (commit), no cut removes such an entry
     (reconcile).
   - A subscription that passes the comparison of ends is a prefix (reconcile).

   Results on one core of a busy machine; all states are kept exactly
   (states in millions; a test's bounds at gcc -O1, the others at -O2)
     3 nodes, a second disk of the last, epochs 2-3, 4 entries, 1 crash        0.44    1 s   0.1 GB
       2 crashes                                                               2.34    8 s   0.2 GB
       3 crashes                                                               6.23   27 s   0.6 GB
       5 entries, 1 crash                                                      1.80    5 s   0.2 GB
     3 nodes, no second disk, epochs 2-4, 3 entries, 1 crash                   0.47    1 s   0.1 GB
       4 entries, 2 crashes                                                    4.26   19 s   0.3 GB
       epochs 2-5, 3 entries, no crash                                         0.53    2 s   0.1 GB
     4 nodes, of which 2 seek the lead, removals, epochs 2-4, 4 entries        2.00    5 s   0.2 GB
     A disk put back from a copy, epochs 2-3, 3 entries, 1 crash               0.53    2 s   0.1 GB
       2 crashes                                                               2.60    5 s   0.3 GB
       4 entries, 2 crashes                                                    9.87   29 s   1.1 GB
       a stopped disk's copy, nothing owed, 3 entries, 2 crashes               0.98    2 s   0.1 GB
     No assertion fails. Each mutation is found, after half a million states at most, but for one:
     M_LIVES_FORGOTTEN alone holds (3 entries, 2 crashes). While all others are up, what a life hears
     first suffices. Where nothing is owed, remembered lives alone notice a stopped disk's copy, and
     without them it is found. */

/* ---- Bounds. -------------------------------------------------------------------------------------- */

#ifndef NODES
#define NODES 3
#endif
#ifndef DISKS
#define DISKS 4
#endif
#ifndef EPOCHS
#define EPOCHS 3  /* The last one. The first is 1, in which the first entry was committed. */
#endif
#ifndef ENTRIES
#define ENTRIES 4  /* Of a log. */
#endif
#ifndef CRASHES
#define CRASHES 2
#endif
#ifndef SEEKERS
#define SEEKERS DISKS  /* Disks below this one seek the lead. */
#endif
/* REMOVALS: an operator removes voters; then there is neither plain data nor a vote for another disk. */
#ifndef REACH
#define REACH 0  /* Not 0: the assertion of that number must fail, which shows that a state is reached. */
#endif

/* ---- State. --------------------------------------------------------------------------------------- */

#define FOLLOWER 0
#define CANDIDATE 1
#define LEADER 2
#define GONE 7 /* `to` of a promise to a life that is over. */

#define NODE(s) ((s) - ((s) >= NODES) * ((s) - NODES + 1))
#if DISKS == NODES
#define DISKS_OF(n) (1 << (n))
#else
#define DISKS_OF(n) ((n) == NODES - 1 -> 3 << (n) : 1 << (n))
#endif

typedef Disk {
  unsigned up : 1;
  unsigned role : 2;
  unsigned promised : 3; /* An epoch, to the life of node `to` - 1. Durable. */
  unsigned to : 3;
  unsigned length : 3;   /* Of its log. */
  unsigned com : 3       /* So many entries are committed, as far as it knows. */
};
Disk d[DISKS];
byte log[DISKS * ENTRIES];
/* What `s` has heard of `o`: a candidate the position that was sealed, a leader the acknowledged length.
   A leader's own: what it has flushed. */
byte word[DISKS * DISKS];
/* What was ever committed, by a leader of which epoch; and the epochs that had a leader (a set). */
byte done[ENTRIES];
byte by[ENTRIES];
byte committed = 1;
byte led = 2;
byte crashes = 0;
byte maximum = 1; /* The greatest epoch that was granted. */

hidden byte t, i, k, given, need, cut, common, x;
hidden byte ok;

#define ENTRY(e, m) ((m) << 3 | (e))
#define EPOCH(x) ((x) & 7)
#define VOTERS(x) ((x) >> 3)
#define LOG(s, n) log[(s) * ENTRIES + (n)]
#define WORD(s, n) word[(s) * DISKS + (n)]
#define LAST(s) (d[s].length == 0 -> 0 : LOG(s, d[s].length - 1))
#define POSITION(s) (d[s].length == 0 -> 0 : EPOCH(LOG(s, d[s].length - 1)) << 3 | d[s].length)
#define BITS(m) (((m) & 1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3 & 1) + ((m) >> 4 & 1))

/* ---- Rules that several steps share. -------------------------------------------------------------- */

/* Which of two logs is the greater one: by (last epoch, end). Core::candidate_choose */
#ifdef M_CHOOSE_BY_LENGTH
#define AT_MOST(p, q) (((p) & 7) <= ((q) & 7))
#else
#define AT_MOST(p, q) ((p) <= (q))
#endif

/* A voter is a disk, not a number: its word counts if the newest record in the log of the one who counts
   names it. Core::is_its_disk, Core::is_voter, Core::counts */
#if defined(M_VOTES_BY_NUMBER)
#define COUNTS(m, s) (((m) & DISKS_OF(NODE(s))) != 0)
#elif defined(M_NEW_DISK_VOTES)
#define COUNTS(m, s) (((m) >> (s) & 1) != 0 || ((m) & DISKS_OF(NODE(s))) == 0)
#else
#define COUNTS(m, s) (((m) >> (s) & 1) != 0)
#endif

inline tally(m, good) {
  given = 0; t = 0;
  do
  :: t < DISKS -> if :: COUNTS(m, t) && (good) -> given++ :: else fi; t++
  :: else -> break
  od
}

/* An epoch is promised to one life. Core::may_promise */
#define MAY_PROMISE(s, e, n) \
  ((e) > d[s].promised || ((e) == d[s].promised && (d[s].to == (n) + 1 || HEARD_WITHOUT_LEADER(s))))
#ifdef M_PROMISE_WITHOUT_LEADER
#define HEARD_WITHOUT_LEADER(s) d[s].to == 0
#else
#define HEARD_WITHOUT_LEADER(s) 0
#endif

/* Core::candidate_lost, Core::leader_end: what a leader has not flushed is dropped. */
inline end_role(s) {
  if
  :: d[s].role == LEADER ->
     do
     :: d[s].length > WORD(s, s) -> d[s].length = d[s].length - 1; LOG(s, d[s].length) = 0
     :: else -> break
     od
  :: else
  fi;
  d[s].role = FOLLOWER;
  k = 0;
  do :: k < DISKS -> WORD(s, k) = 0; k++ :: else -> break od
}

/* Core::follower_adopt, Core::promise */
inline adopt(s, e, n) {
  if
  :: d[s].promised != (e) || d[s].to != (n) + 1 ->
     end_role(s);
     d[s].promised = e; d[s].to = (n) + 1
  :: else
  fi
}

/* The word of one disk replaces that of another of the same node: there is one connection to a node. */
inline set_word(s, o, v) {
  k = 0;
  do
  :: k < DISKS -> if :: k != (o) && NODE(k) == NODE(o) && k != s -> WORD(s, k) = 0 :: else fi; k++
  :: else -> break
  od;
  WORD(s, o) = v
}

/* Whether the log of `o` is a prefix of that of `s`, by its end and last epoch (Core::stream_subscribe);
   otherwise `o` cuts, to where the two may still agree (Core::follower_diverges). */
inline reconcile(s, o) {
#ifdef M_SKIP_LOG_CHECK
  ok = 1;
#else
  ok = 0;
  if
  :: d[o].length == 0 -> ok = 1
  :: d[o].length > 0 && d[o].length <= d[s].length -> ok = (EPOCH(LOG(s, d[o].length - 1)) == EPOCH(LAST(o)))
  :: else
  fi;
#endif
  if
  :: ok ->
     i = 0;
     do
     :: i < d[o].length && i < d[s].length -> assert(LOG(o, i) == LOG(s, i)); i++
     :: else -> break
     od
  :: else ->
     common = 0; cut = 0; i = 0;
     do
     :: i < d[s].length && EPOCH(LOG(s, i)) <= EPOCH(LAST(o)) -> common = EPOCH(LOG(s, i)); i++; cut = i
     :: else -> break
     od;
     if :: cut > d[o].length -> cut = d[o].length :: else fi;
     i = 0;
     do
     :: i < cut && EPOCH(LOG(o, i)) <= common -> i++
     :: else -> break
     od;
     cut = i;
     assert(cut < d[o].length);
     do
     :: d[o].length > cut ->
        d[o].length = d[o].length - 1;
        assert(!(d[o].length < committed && LOG(o, d[o].length) == done[d[o].length]));
        LOG(o, d[o].length) = 0
     :: else -> break
     od
  fi
}

inline append(s, m) {
  LOG(s, d[s].length) = ENTRY(d[s].promised, m);
  d[s].length = d[s].length + 1
}

/* ---- A disk that is put back from a copy. --------------------------------------------------------- */

#ifdef COPY
#ifndef LIVE_COPY
#define LIVE_COPY 1
#endif
#define X (NODES - 1) /* The disk; the others are 0 and 1. */
#define Y NODES       /* What it becomes once it learns that it was put back. */
bit copied = 0, restored = 0, dead = 0;
byte copy[ENTRIES];
Disk shelf;
unsigned starts : 3 = 1;
unsigned shelf_starts : 3;
byte seen[DISKS];   /* The newest life of X that each of the others has seen. Durable. */
unsigned heard : 2; /* The others whom this life of X has heard (a set). */
byte owed = 0;      /* The greatest end of a log that they told. */
byte due[2];        /* What X owed when it sealed for the candidate 0 or 1. */

/* A life is a count of starts and a random run; here the run says whether it is from the copy.
   Who comes with a count that was seen, in another run, is refused. Core::note_life */
#define LIFE (starts * 2 + restored)
#ifdef M_LIVES_FORGOTTEN
#define KNOWN(o) 0
#else
#define KNOWN(o) ((seen[o] >> 1) > starts || ((seen[o] >> 1) == starts && (seen[o] & 1) != restored))
#endif
#define MET(o) (!restored || (heard >> (o) & 1))
#define MAY_MEET(s, o) \
  (((s) != X && (o) != X) || ((s) == X -> (!KNOWN(o) && MET(o)) : (!KNOWN(s) && MET(s))))
#define NOTE(s, o) if :: (s) == X -> seen[o] = LIFE :: (o) == X -> seen[s] = LIFE :: else fi

/* A life that begins says nothing that counts before it has heard all other voters.
   Core::end_hearing, Core::follower_answer_seal, Core::candidate_choose */
#ifdef M_NOT_HEARD_FIRST
#define SPEAKS(s) 1
#else
#define SPEAKS(s) ((s) != X || !restored || heard == 3)
#endif
/* Neither does it subscribe or acknowledge. Core::follower_subscribe, Core::follower_acknowledge */
#ifdef M_ACKNOWLEDGES_UNHEARD
#define SPEAKS_TO_LEADER(s) 1
#else
#define SPEAKS_TO_LEADER(s) SPEAKS(s)
#endif

/* What a voter tells in its hello: the end of what it has durable. Core::introduction */
#define DURABLE(o) (d[o].role == LEADER -> WORD(o, o) : d[o].length)
#if defined(M_NOTHING_OWED)
#define TOLD(o) 0
#elif defined(M_COMMITTED_OWED)
#define TOLD(o) (d[o].com == 0 -> 0 : EPOCH(LOG(o, d[o].com - 1)) << 3 | d[o].com)
#else
#define TOLD(o) (DURABLE(o) == 0 -> 0 : EPOCH(LOG(o, DURABLE(o) - 1)) << 3 | DURABLE(o))
#endif

/* The greatest promise that is told is taken over, with the life that it was made to. An epoch of its own
   that was promised to somebody else is given up, and promised to nobody. Core::hear */
#ifdef M_PROMISE_WITHOUT_LEADER
#define TOLD_LEADER(o) 0
#else
#define TOLD_LEADER(o) d[o].to
#endif
#ifdef M_PROMISE_KEPT
#define GIVE_UP_EPOCH skip
#else
#define GIVE_UP_EPOCH end_role(X); d[X].to = GONE
#endif

/* What an earlier life acknowledged or sealed is forgotten. Core::stream_new_life */
#ifdef M_NOT_FORGOTTEN
#define FORGET_EARLIER(o) skip
#else
#define FORGET_EARLIER(o) if :: d[o].role != FOLLOWER -> WORD(o, X) = 0 :: else fi
#endif

#define hello(o) \
  :: d_step { d[X].up && d[o].up && !dead && restored && !KNOWN(o) && !(heard >> (o) & 1) -> \
     seen[o] = LIFE; heard = heard | 1 << (o); \
     FORGET_EARLIER(o); \
     if :: TOLD(o) > owed -> owed = TOLD(o) :: else fi; \
     if \
     :: d[o].promised > d[X].promised -> \
        end_role(X); d[X].promised = d[o].promised; d[X].to = TOLD_LEADER(o) \
     :: d[o].promised == d[X].promised && d[o].to != d[X].to -> GIVE_UP_EPOCH \
     :: else \
     fi; \
     printf("disk %d says hello to %d: owes %d,%d promised %d to %d\n", X, o, owed >> 3, owed & 7, \
            d[X].promised, d[X].to) }

/* Its Sealed carries what it owes; its word counts for a log that holds that. Core::owed,
   Core::candidate_choose */
#define SET_DUE(s, o) if :: (o) == X -> due[s] = owed :: else fi
#define WEIGH(s) \
  common = POSITION(s); if :: (s) == X -> need = owed :: (s) < X -> need = due[s] :: else -> need = 0 fi
#define HOLDS_OWED(t) (t != X || common >= need)

#define start_life(s) if :: (s) == X -> starts = starts + 1; heard = 0; owed = 0 :: else fi
#define shelf_gone(s) if :: shelf.to == NODE(s) + 1 -> shelf.to = GONE :: else fi
#define STARTABLE(s) (((s) == Y) == dead || (s) < X)

/* A copy of a running leader's disk holds what was flushed; a promise to itself is to a life that is
   over when the copy starts. */
#define take_copy \
  :: d_step { !copied && (LIVE_COPY || !d[X].up) && maximum > 1 -> \
     copied = 1; i = 0; shelf.length = (d[X].role == LEADER -> WORD(X, X) : d[X].length); \
     shelf.promised = d[X].promised; shelf.to = (d[X].role == FOLLOWER -> d[X].to : GONE); \
     shelf_starts = starts; \
     do :: i < shelf.length -> copy[i] = LOG(X, i); i++ :: else -> break od; \
     printf("the disk %d is copied\n", X) }

#define put_back \
  :: d_step { copied && !restored && !dead && !d[X].up && d[0].up && d[1].up -> \
     restored = 1; i = 0; \
     d[X].length = shelf.length; d[X].promised = shelf.promised; d[X].to = shelf.to; \
     starts = shelf_starts + 1; \
     do :: i < ENTRIES -> LOG(X, i) = (i < shelf.length -> copy[i] : 0); copy[i] = 0; i++ :: else -> break od; \
     d[X].up = 1; heard = 0; owed = 0; \
     shelf.length = 0; shelf.promised = 0; shelf.to = 0; shelf_starts = 0; \
     printf("the copy of disk %d is put back\n", X) }

/* Core::become_another_disk */
#define renew \
  :: d_step { d[X].up && !dead && ((d[0].up && KNOWN(0)) || (d[1].up && KNOWN(1))) -> \
     end_role(X); \
     i = 0; \
     do :: i < ENTRIES -> LOG(Y, i) = LOG(X, i); LOG(X, i) = 0; i++ :: else -> break od; \
     d[Y].length = d[X].length; d[Y].promised = d[X].promised; d[Y].to = d[X].to; d[Y].up = 1; \
     d[X].length = 0; d[X].promised = 0; d[X].to = 0; d[X].up = 0; \
     dead = 1; starts = 0; seen[0] = 0; seen[1] = 0; heard = 0; owed = 0; \
     printf("disk %d learns that it was put back: it is disk %d now\n", X, Y) }

#define copy_steps take_copy put_back hello(0) hello(1) renew
#else
#define MAY_MEET(s, o) 1
#define NOTE(s, o) skip
#define SPEAKS(s) 1
#define SPEAKS_TO_LEADER(s) 1
#define SET_DUE(s, o) skip
#define WEIGH(s) skip
#define HOLDS_OWED(t) 1
#define start_life(s) skip
#define shelf_gone(s) skip
#define STARTABLE(s) 1
#define copy_steps
#endif

/* ---- Steps: a candidate. -------------------------------------------------------------------------- */

/* The coordinator grants epoch `e`; a new life takes a new one. Core::on(Granted), Core::candidate_begin */
#ifdef M_EPOCH_TO_NUMBER
#define SAME_NUMBER(s, e) || ((e) == d[s].promised && d[s].to == NODE(s) + 1 && d[s].role == FOLLOWER)
#else
#define SAME_NUMBER(s, e)
#endif
#ifdef M_VOTES_BY_NUMBER
#define BY_NUMBER(s) || (VOTERS(LAST(s)) & DISKS_OF(NODE(s)))
#else
#define BY_NUMBER(s)
#endif
#define FIRST_IS_NOT_1(s) ((s) != 1 || maximum > 1) /* Nodes 0 and 1 are alike at the start. */
#define grant(s, e) \
  :: d_step { (s) < SEEKERS && d[s].up && (e) <= maximum + 1 && ((e) > d[s].promised SAME_NUMBER(s, e)) && \
     (d[s].length == 0 || (VOTERS(LAST(s)) >> (s) & 1) BY_NUMBER(s)) && FIRST_IS_NOT_1(s) -> \
     end_role(s); d[s].role = CANDIDATE; d[s].promised = e; d[s].to = NODE(s) + 1; \
     if :: (e) > maximum -> maximum = e :: else fi; \
     printf("disk %d seeks the lead in epoch %d\n", s, e) }

/* The promise is durable before the answer. Core::follower_seal, Core::follower_answer_seal,
   Core::candidate_sealed */
#define seal(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == CANDIDATE && MAY_PROMISE(o, d[s].promised, NODE(s)) && \
     WORD(s, o) == 0 && MAY_MEET(s, o) && SPEAKS(o) -> \
     NOTE(s, o); adopt(o, d[s].promised, NODE(s)); x = POSITION(o); set_word(s, o, x); SET_DUE(s, o); \
     printf("disk %d seals epoch %d for disk %d, its log ends at %d,%d\n", o, d[s].promised, s, x >> 3, x & 7) }
#ifdef M_ANSWER_BEFORE_PROMISE
#define forgotten_seal(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == CANDIDATE && MAY_PROMISE(o, d[s].promised, NODE(s)) && \
     WORD(s, o) == 0 && crashes < CRASHES -> \
     end_role(o); x = POSITION(o); set_word(s, o, x); d[o].up = 0; d[o].com = 0; life_over(o); crashes++; \
     printf("disk %d seals epoch %d for disk %d and stops before that is durable\n", o, d[s].promised, s) }
#else
#define forgotten_seal(s, o)
#endif

/* From a disk that promised it not to change. Core::feeds, Core::follower_data */
#define fetch(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == CANDIDATE && d[o].promised == d[s].promised && \
     d[o].to == NODE(s) + 1 && WORD(s, o) != 0 && !AT_MOST(POSITION(o), POSITION(s)) && MAY_MEET(s, o) -> \
     NOTE(s, o); reconcile(o, s); \
     if \
     :: ok && d[s].length < d[o].length -> \
        LOG(s, d[s].length) = LOG(o, d[s].length); d[s].length = d[s].length + 1 \
     :: else \
     fi; \
     printf("disk %d fetches from disk %d: length %d\n", s, o, d[s].length) }

/* A majority by the record in the log that it ends up with, which is the greatest that was sealed; its
   own word counts like any other. Core::candidate_choose, Core::candidate_won */
#ifdef M_SEAL_BY_MINORITY
#define SEALS(m) (BITS(m) / 2)
#else
#define SEALS(m) (BITS(m) / 2 + 1)
#endif
#ifdef M_SKIP_FETCH
#define NOT_MORE(s) 1
#else
#define NOT_MORE(s) AT_MOST(WORD(s, t), POSITION(s))
#endif
#if REACH == 2
#define reach_win(s) assert(!((s) == 1 && restored && heard == 3 && !d[0].up && WORD(1, 0) == 0 && committed > 1))
#else
#define reach_win(s) skip
#endif
#define win(s) \
  :: d_step { d[s].up && d[s].role == CANDIDATE && d[s].length > 0 && d[s].length < ENTRIES && \
     COUNTS(VOTERS(LAST(s)), s) && SPEAKS(s) -> \
     WEIGH(s); \
     tally(VOTERS(LAST(s)), HOLDS_OWED(t) && (t == s || (WORD(s, t) != 0 && NOT_MORE(s)))); \
     if \
     :: given >= SEALS(VOTERS(LAST(s))) -> \
        assert(!(led >> d[s].promised & 1)); \
        led = led | 1 << d[s].promised; \
        i = 0; \
        do \
        :: i < committed -> \
           assert(by[i] >= d[s].promised || (i < d[s].length && LOG(s, i) == done[i])); i++ \
        :: else -> break \
        od; \
        reach_win(s); \
        k = 0; \
        do :: k < DISKS -> WORD(s, k) = 0; k++ :: else -> break od; \
        d[s].role = LEADER; WORD(s, s) = d[s].length; x = VOTERS(LAST(s)); append(s, x); \
        printf("disk %d leads in epoch %d, voters %d\n", s, d[s].promised, x) \
     :: else fi }

/* ---- Steps: a leader and its followers. ----------------------------------------------------------- */

/* A follower subscribes, and says again what it has. Core::follower_leading, Core::follower_subscribe,
   Core::stream_subscribe */
#define subscribe(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == LEADER && MAY_PROMISE(o, d[s].promised, NODE(s)) && \
     MAY_MEET(s, o) && SPEAKS_TO_LEADER(o) -> \
     NOTE(s, o); adopt(o, d[s].promised, NODE(s)); reconcile(s, o); \
     if :: ok -> x = d[o].length; set_word(s, o, x) :: else fi; \
     printf("disk %d follows disk %d: length %d, acknowledged %d\n", o, s, d[o].length, ok) }

/* Core::stream_ship, Core::follower_data, Core::follower_acknowledge, Core::stream_acknowledge */
#define ship(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == LEADER && d[o].promised == d[s].promised && \
     d[o].to == NODE(s) + 1 && d[o].length < d[s].length && MAY_MEET(s, o) && SPEAKS_TO_LEADER(o) -> \
     NOTE(s, o); reconcile(s, o); \
     if \
     :: ok -> \
        LOG(o, d[o].length) = LOG(s, d[o].length); d[o].length = d[o].length + 1; \
        x = d[o].length; set_word(s, o, x) \
     :: else \
     fi; \
     printf("disk %d takes from disk %d: length %d\n", o, s, d[o].length) }

/* Core::on(LogMoved) */
#define flush(s) \
  :: d_step { d[s].role == LEADER && WORD(s, s) < d[s].length -> \
     WORD(s, s) = d[s].length; printf("disk %d flushes\n", s) }

/* What a majority has durable, from the epoch's first entry on, and the leader itself.
   Core::leader_count, Core::counts */
#ifdef M_COUNTS_UNFLUSHED
#define OWN(s) d[s].length
#else
#define OWN(s) WORD(s, s)
#endif
#ifdef M_MINORITY_COMMITS
#define ACKNOWLEDGED(m) (BITS(m) / 2)
#else
#define ACKNOWLEDGED(m) (BITS(m) / 2 + 1)
#endif
#ifdef M_COUNTS_OLD_EPOCHS
#define from_own_epoch(s) skip
#else
#define from_own_epoch(s) \
  do :: cut <= d[s].length && EPOCH(LOG(s, cut - 1)) != d[s].promised -> cut++ :: else -> break od
#endif
#if REACH == 1
#define reach_commit(s) assert(!(VOTERS(LOG(s, cut - 1)) >> NODES & 1))
#else
#define reach_commit(s) skip
#endif
#define commit(s) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].com < OWN(s) -> \
     cut = d[s].com + 1; \
     from_own_epoch(s); \
     tally(VOTERS(LAST(s)), (t == s && OWN(s) >= cut) || (t != s && WORD(s, t) >= cut)); \
     if \
     :: given >= ACKNOWLEDGED(VOTERS(LAST(s))) && cut <= OWN(s) -> \
        reach_commit(s); \
        d[s].com = cut; i = 0; \
        do \
        :: i < cut -> \
           if \
           :: i < committed -> assert(LOG(s, i) == done[i]) \
           :: else -> done[i] = LOG(s, i); by[i] = d[s].promised; committed = i + 1 \
           fi; \
           t = 0; \
           do \
           :: t < DISKS -> \
              assert(!(d[t].role == LEADER && d[t].promised > d[s].promised && \
                       (d[t].length <= i || LOG(t, i) != LOG(s, i)))); \
              t++ \
           :: else -> break \
           od; \
           i++ \
        :: else -> break \
        od; \
        printf("disk %d commits %d\n", s, cut) \
     :: else fi }

#define SERVES(s) (d[s].com > 0 && EPOCH(LOG(s, d[s].com - 1)) == d[s].promised)
#define data(s) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && SERVES(s) -> \
     x = VOTERS(LAST(s)); append(s, x); printf("disk %d writes\n", s) }

/* ---- Steps: a change of members. ------------------------------------------------------------------ */

/* One at a time, after the epoch's first entry and the change before are committed. Core::may_change */
#if defined(M_CHANGES_EARLY)
#define MAY_CHANGE(s) (VOTERS(LOG(s, (d[s].com == 0 -> 0 : d[s].com - 1))) == VOTERS(LAST(s)))
#elif defined(M_CHANGES_OVERLAP)
#define MAY_CHANGE(s) SERVES(s)
#else
#define MAY_CHANGE(s) (SERVES(s) && VOTERS(LOG(s, d[s].com - 1)) == VOTERS(LAST(s)))
#endif

#ifdef REMOVALS
/* An operator removes a member. Core::after_change, Core::append_members */
#define demote(s, o) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && s != o && \
     (VOTERS(LAST(s)) >> (o) & 1) && MAY_CHANGE(s) -> \
     x = VOTERS(LAST(s)) & ~(1 << (o)); append(s, x); printf("disk %d: disk %d has no vote\n", s, o) }
#else
/* A voter follows with another disk than the one which votes: the number joins anew.
   Core::leader_replace_disk */
#define demote(s, o) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && NODE(s) != NODE(o) && WORD(s, o) > 0 && \
     !(VOTERS(LAST(s)) >> (o) & 1) && (VOTERS(LAST(s)) & DISKS_OF(NODE(o))) && MAY_CHANGE(s) -> \
     x = VOTERS(LAST(s)) & ~DISKS_OF(NODE(o)); append(s, x); printf("disk %d: node %d joins\n", s, NODE(o)) }
#endif

/* The disk with which a joining member follows gets its vote. Core::leader_promote */
#ifdef M_REPLACE_IN_ONE
#define JOINS(s, o) 1
#else
#define JOINS(s, o) !(VOTERS(LAST(s)) & DISKS_OF(NODE(o)))
#endif
#define promote(s, o) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && NODE(s) != NODE(o) && WORD(s, o) > 0 && \
     !(VOTERS(LAST(s)) >> (o) & 1) && JOINS(s, o) && MAY_CHANGE(s) -> \
     x = (VOTERS(LAST(s)) & ~DISKS_OF(NODE(o))) | 1 << (o); \
     append(s, x); printf("disk %d: disk %d votes\n", s, o) }

/* ---- Steps: faults. ------------------------------------------------------------------------------- */

/* Core::may_promise compares runs. */
#ifdef M_EPOCH_TO_NUMBER
#define life_over(s) skip
#else
#define life_over(s) \
  t = 0; \
  do :: t < DISKS -> if :: d[t].to == NODE(s) + 1 -> d[t].to = GONE :: else fi; t++ :: else -> break od; \
  shelf_gone(s)
#endif
#define crash(s) \
  :: d_step { d[s].up && crashes < CRASHES && maximum > 1 -> \
     crashes++; end_role(s); d[s].up = 0; d[s].com = 0; life_over(s); printf("disk %d stops\n", s) }

/* The same disk, or another one of that node: one that is new, or one that was replaced. Core::on(Started) */
#if DISKS == NODES
#define RUNS(n) d[n].up
#else
#define RUNS(n) (d[n].up || ((n) == NODES - 1 && d[NODES].up))
#endif
#define start(s) \
  :: d_step { !d[s].up && !RUNS(NODE(s)) && STARTABLE(s) -> \
     d[s].up = 1; start_life(s); printf("disk %d starts\n", s) }

/* ---- The cluster. --------------------------------------------------------------------------------- */

#if NODES == 3 && DISKS == 3
#define EACH(A) A(0) A(1) A(2)
#define PAIRS(A) A(0,1) A(0,2) A(1,0) A(1,2) A(2,0) A(2,1)
#elif NODES == 3 && DISKS == 4
#define EACH(A) A(0) A(1) A(2) A(3)
#define PAIRS(A) A(0,1) A(0,2) A(0,3) A(1,0) A(1,2) A(1,3) A(2,0) A(2,1) A(3,0) A(3,1)
#elif NODES == 4 && DISKS == 4
#define EACH(A) A(0) A(1) A(2) A(3)
#define PAIRS(A) A(0,1) A(0,2) A(0,3) A(1,0) A(1,2) A(1,3) A(2,0) A(2,1) A(2,3) A(3,0) A(3,1) A(3,2)
#endif
#define grant_2(s) grant(s, 2)
#define grant_3(s) grant(s, 3)
#define grant_4(s) grant(s, 4)
#define grant_5(s) grant(s, 5)

active proctype cluster() {
  d_step {
    x = 0;
    do
    :: x < NODES ->
       d[x].up = 1; d[x].promised = 1; d[x].to = GONE; d[x].length = 1;
       LOG(x, 0) = ENTRY(1, (1 << NODES) - 1); x++
    :: else -> break
    od;
    done[0] = ENTRY(1, (1 << NODES) - 1); by[0] = 1
  };
  do
  EACH(grant_2) EACH(grant_3)
#if EPOCHS >= 4
  EACH(grant_4)
#endif
#if EPOCHS >= 5
  EACH(grant_5)
#endif
  PAIRS(seal) PAIRS(forgotten_seal) PAIRS(fetch) EACH(win)
  PAIRS(subscribe) PAIRS(ship) EACH(flush) EACH(commit) PAIRS(demote)
#ifndef REMOVALS
  EACH(data) PAIRS(promote)
#endif
  EACH(crash) EACH(start)
  copy_steps
  od
}
