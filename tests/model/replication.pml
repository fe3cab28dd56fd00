/* The replication protocol for spin: a draft, not wired yet. COPY: a copy of a disk is put back; OWES:
   what a life that begins has to hear of: 0 nothing, 1 what is known to be committed, 2 ends of logs,
   3 what may be committed. */
#ifndef NODES
#define NODES 3
#endif
#ifndef DISKS
#define DISKS 4
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif
#ifndef ENTRIES
#define ENTRIES 4
#endif
#ifndef CRASHES
#define CRASHES 2
#endif

#define FOLLOWER 0
#define CANDIDATE 1
#define LEADER 2
#define GONE 7   /* promised to a life that is over */

#define NODE(s) ((s) - ((s) >= NODES) * ((s) - NODES + 1))
#if DISKS == NODES
#define DISKS_OF(n) (1 << (n))
#elif DISKS == NODES + 1
#define DISKS_OF(n) ((n) == NODES - 1 -> 3 << (n) : 1 << (n))
#else
#define DISKS_OF(n) ((n) == NODES - 1 -> 7 << (n) : 1 << (n))
#endif

typedef Disk {
  unsigned up : 1;
  unsigned role : 2;
  unsigned promised : 3;
  unsigned to : 3;
  unsigned length : 3;
  unsigned com : 3
};
Disk d[DISKS];
byte log[DISKS * ENTRIES];
byte word[DISKS * DISKS];
byte done[ENTRIES];
byte by[ENTRIES];
byte committed = 1;
byte led = 2;
byte crashes = 0;
#ifdef COPY
#define X (NODES - 1)
#define Y NODES
bit copied = 0, restored = 0, dead = 0;
byte copy[ENTRIES];
Disk shelf;
unsigned starts : 3 = 1;
unsigned shelf_starts : 3;
byte seen[DISKS];
#endif

hidden byte t, i, k, given, need, cut, common, x;
hidden byte ok;

#define ENTRY(e, m) ((m) << 3 | (e))
#define EPOCH(x) ((x) & 7)
#define VOTERS(x) ((x) >> 3)
#define LOG(s, n) log[(s) * ENTRIES + (n)]
#define WORD(s, n) word[(s) * DISKS + (n)]
#define LAST(s) (d[s].length == 0 -> 0 : LOG(s, d[s].length - 1))
#define POS(s) (d[s].length == 0 -> 0 : EPOCH(LOG(s, d[s].length - 1)) << 3 | d[s].length)
#ifdef M_CHOOSE_BY_LENGTH
#define AT_MOST(p, q) (((p) & 7) <= ((q) & 7))
#else
#define AT_MOST(p, q) ((p) <= (q))
#endif
#define BITS(m) (((m) & 1) + ((m) >> 1 & 1) + ((m) >> 2 & 1) + ((m) >> 3 & 1) + ((m) >> 4 & 1))

#if defined(M_VOTES_BY_NUMBER)
#define COUNTS(m, s) (((m) & DISKS_OF(NODE(s))) != 0)
#elif defined(M_NEW_VOTES)
#define COUNTS(m, s) (((m) >> (s) & 1) != 0 || ((m) & DISKS_OF(NODE(s))) == 0)
#else
#define COUNTS(m, s) (((m) >> (s) & 1) != 0)
#endif

#define MAY_PROMISE(s, e, n) ((e) > d[s].promised || ((e) == d[s].promised && d[s].to == (n) + 1))

inline tally(m, good) {
  given = 0; t = 0;
  do
  :: t < DISKS -> if :: COUNTS(m, t) && (good) -> given++ :: else fi; t++
  :: else -> break
  od
}

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

inline adopt(s, e, n) {
  if
  :: d[s].promised != (e) || d[s].to != (n) + 1 ->
     end_role(s);
     d[s].promised = e; d[s].to = (n) + 1
  :: else
  fi
}

inline set_word(s, o, v) {
  k = 0;
  do
  :: k < DISKS -> if :: k != (o) && NODE(k) == NODE(o) && k != s -> WORD(s, k) = 0 :: else fi; k++
  :: else -> break
  od;
  WORD(s, o) = v
}

/* does the log of o continue that of s; else cut */
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

#ifdef COPY
#ifndef OWES
#define OWES 1
#endif
byte owed = 0;
byte due[2];
unsigned heard : 2;
#define LIFE (starts * 2 + restored)
#ifdef M_NO_MEMORY
#define KNOWN(o) 0
#else
#define KNOWN(o) ((seen[o] >> 1) > starts || ((seen[o] >> 1) == starts && (seen[o] & 1) != restored))
#endif
#define MET(o) (!restored || (heard >> (o) & 1))
#define HELLO(s, o) (((s) != X && (o) != X) || ((s) == X -> (!KNOWN(o) && MET(o)) : (!KNOWN(s) && MET(s))))
#define NOTE(s, o) if :: (s) == X -> seen[o] = LIFE :: (o) == X -> seen[s] = LIFE :: else fi
#ifdef M_NOT_HEARD_FIRST
#define SPEAKS(s) 1
#else
#define SPEAKS(s) ((s) != X || !restored || heard == 3)
#endif
#ifdef ACKS_UNHEARD
#define SPEAKS_TO(s) 1
#else
#define SPEAKS_TO(s) SPEAKS(s)
#endif
#if OWES == 0
#define TOLD(o) 0
#elif OWES == 1
#define TOLD(o) (d[o].com == 0 -> 0 : EPOCH(LOG(o, d[o].com - 1)) << 3 | d[o].com)
#elif OWES == 2
#define TOLD(o) POS(o)
#else
/* committed as known; restarted: the end at the start; of an epoch of X: the end */
byte began[2];
byte of_x = 0;
#define KNOWN_COMMITTED(o) (d[o].com == 0 -> 0 : EPOCH(LOG(o, d[o].com - 1)) << 3 | d[o].com)
#define OLD_END(o) began[o]
#define OF_X(o) (d[o].length != 0 && (of_x >> EPOCH(LAST(o)) & 1) -> POS(o) : 0)
#endif
#define hello(o) \
  :: d_step { d[X].up && d[o].up && !dead && restored && !KNOWN(o) && !(heard >> (o) & 1) -> \
     seen[o] = LIFE; heard = heard | 1 << (o); \
     FORGET(o); \
     TELL(o); \
     if \
     :: d[o].promised > d[X].promised -> end_role(X); d[X].promised = d[o].promised; d[X].to = d[o].to \
     :: d[o].promised == d[X].promised && d[o].to != d[X].to -> CONFLICT \
     :: else \
     fi; \
     printf("disk %d says hello to %d: owes %d,%d promised %d to %d\n", X, o, owed >> 3, owed & 7, d[X].promised, d[X].to) }
#if OWES == 3
#define TELL(o) if :: KNOWN_COMMITTED(o) > owed -> owed = KNOWN_COMMITTED(o) :: else fi; \
  if :: OLD_END(o) > owed -> owed = OLD_END(o) :: else fi; \
  if :: OF_X(o) > owed NO_OF_X -> owed = OF_X(o) :: else fi
#ifdef M_NO_OF_X
#define NO_OF_X && 0
#else
#define NO_OF_X
#endif
#define BEGAN(s) if :: (s) < X -> began[s] = POS(s) :: else fi
#define LED(s) if :: (s) == X -> of_x = of_x | 1 << d[s].promised :: else fi
#else
#define TELL(o) if :: TOLD(o) > owed -> owed = TOLD(o) :: else fi
#define BEGAN(s) skip
#define LED(s) skip
#endif
#ifdef CONFLICT_GONE
#define CONFLICT end_role(X); d[X].to = GONE
#else
#define CONFLICT skip
#endif
#ifdef M_NOT_FORGOTTEN
#define FORGET(o) skip
#else
#define FORGET(o) if :: d[o].role != FOLLOWER -> WORD(o, X) = 0 :: else fi
#endif
#define SET_DUE(s, o) if :: (o) == X -> due[s] = owed :: else fi
#define WEIGH(s) common = POS(s); if :: (s) == X -> need = owed :: (s) < X -> need = due[s] :: else -> need = 0 fi
#define OWED_BY(t) (t != X || common >= need)
#else
#define HELLO(s, o) 1
#define NOTE(s, o) skip
#define SPEAKS(s) 1
#define SPEAKS_TO(s) 1
#define SET_DUE(s, o) skip
#define OWED_BY(t) 1
#define BEGAN(s) skip
#define LED(s) skip
#define WEIGH(s) skip
#endif

#ifdef COPY
#ifndef LIVE_COPY
#define LIVE_COPY 0
#endif
inline renew() {
  end_role(X);
  i = 0;
  do :: i < ENTRIES -> LOG(Y, i) = LOG(X, i); LOG(X, i) = 0; i++ :: else -> break od;
  d[Y].length = d[X].length; d[Y].promised = d[X].promised; d[Y].to = d[X].to; d[Y].up = 1;
  d[X].length = 0; d[X].promised = 0; d[X].to = 0; d[X].up = 0;
  dead = 1; starts = 0; seen[0] = 0; seen[1] = 0; heard = 0; owed = 0;
  printf("disk %d learns that it has forgotten: it is disk %d now\n", X, Y)
}
#endif

#define grant(s, e) \
  :: d_step { d[s].up && (e) <= maximum + 1 && ((e) > d[s].promised EPOCH_AGAIN(s, e)) && \
     (d[s].length == 0 || (VOTERS(LAST(s)) >> (s) & 1) BY_NUMBER(s)) && FIRST(s) -> \
     end_role(s); d[s].role = CANDIDATE; d[s].promised = e; d[s].to = NODE(s) + 1; \
     if :: (e) > maximum -> maximum = e :: else fi; \
     printf("disk %d seeks the lead in epoch %d\n", s, e) }
byte maximum = 1;
#ifdef M_EPOCH_TO_NUMBER
#define EPOCH_AGAIN(s, e) || ((e) == d[s].promised && d[s].to == NODE(s) + 1 && d[s].role == FOLLOWER)
#else
#define EPOCH_AGAIN(s, e)
#endif
#ifdef M_VOTES_BY_NUMBER
#define BY_NUMBER(s) || (VOTERS(LAST(s)) & DISKS_OF(NODE(s)))
#else
#define BY_NUMBER(s)
#endif
#define FIRST(s) ((s) != 1 || maximum > 1)

#define seal(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == CANDIDATE && MAY_PROMISE(o, d[s].promised, NODE(s)) && \
     WORD(s, o) == 0 && HELLO(s, o) && SPEAKS(o) -> \
     NOTE(s, o); adopt(o, d[s].promised, NODE(s)); x = POS(o); set_word(s, o, x); SET_DUE(s, o); \
     printf("disk %d seals epoch %d for disk %d, its log ends at %d,%d\n", o, d[s].promised, s, x >> 3, x & 7) }

#define fetch(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == CANDIDATE && d[o].promised == d[s].promised && \
     d[o].to == NODE(s) + 1 && WORD(s, o) != 0 && !AT_MOST(POS(o), POS(s)) && HELLO(s, o) -> \
     NOTE(s, o); reconcile(o, s); \
     if :: ok && d[s].length < d[o].length -> LOG(s, d[s].length) = LOG(o, d[s].length); d[s].length = d[s].length + 1 :: else fi; \
     printf("disk %d fetches from disk %d: length %d\n", s, o, d[s].length) }

#ifdef M_SEAL_MINORITY
#define SEALS(m) (BITS(m) / 2)
#else
#define SEALS(m) (BITS(m) / 2 + 1)
#endif
#ifdef M_SKIP_FETCH
#define NOT_MORE(s) 1
#else
#define NOT_MORE(s) AT_MOST(WORD(s, t), POS(s))
#endif

#define win(s) \
  :: d_step { d[s].up && d[s].role == CANDIDATE && d[s].length > 0 && d[s].length < ENTRIES && COUNTS(VOTERS(LAST(s)), s) && SPEAKS(s) -> \
     WEIGH(s); tally(VOTERS(LAST(s)), OWED_BY(t) && (t == s || (WORD(s, t) != 0 && NOT_MORE(s)))); \
     if \
     :: given >= SEALS(VOTERS(LAST(s))) -> \
        assert(!(led >> d[s].promised & 1)); \
        led = led | 1 << d[s].promised; LED(s); \
        i = 0; \
        do :: i < committed -> assert(by[i] >= d[s].promised || (i < d[s].length && LOG(s, i) == done[i])); i++ :: else -> break od; \
        k = 0; \
        do :: k < DISKS -> WORD(s, k) = 0; k++ :: else -> break od; \
        d[s].role = LEADER; WORD(s, s) = d[s].length; x = VOTERS(LAST(s)); append(s, x); \
        printf("disk %d leads in epoch %d, voters %d\n", s, d[s].promised, x) \
     :: else fi }

#define ack(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == LEADER && MAY_PROMISE(o, d[s].promised, NODE(s)) && HELLO(s, o) && SPEAKS_TO(o) -> \
     NOTE(s, o); adopt(o, d[s].promised, NODE(s)); reconcile(s, o); \
     if :: ok -> x = d[o].length; set_word(s, o, x) :: else fi; \
     printf("disk %d follows disk %d: length %d, acknowledged %d\n", o, s, d[o].length, ok) }

#define copy_entry(s, o) \
  :: d_step { d[s].up && d[o].up && d[s].role == LEADER && d[o].promised == d[s].promised && d[o].to == NODE(s) + 1 && \
     d[o].length < d[s].length && HELLO(s, o) && SPEAKS_TO(o) -> \
     NOTE(s, o); reconcile(s, o); \
     if :: ok -> LOG(o, d[o].length) = LOG(s, d[o].length); d[o].length = d[o].length + 1; x = d[o].length; set_word(s, o, x) :: else fi; \
     printf("disk %d takes from disk %d: length %d\n", o, s, d[o].length) }

#define flush(s) \
  :: d_step { d[s].role == LEADER && WORD(s, s) < d[s].length -> WORD(s, s) = d[s].length; printf("disk %d flushes\n", s) }

#ifdef M_COUNTS_UNFLUSHED
#define OWN(s) d[s].length
#else
#define OWN(s) WORD(s, s)
#endif
#ifdef M_MINORITY_COMMITS
#define ACKS(m) (BITS(m) / 2)
#else
#define ACKS(m) (BITS(m) / 2 + 1)
#endif

#define commit(s) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].com < OWN(s) -> \
     cut = d[s].com + 1; \
     FROM_OWN_EPOCH(s); \
     tally(VOTERS(LAST(s)), (t == s && OWN(s) >= cut) || (t != s && WORD(s, t) >= cut)); \
     if \
     :: given >= ACKS(VOTERS(LAST(s))) && cut <= OWN(s) -> \
        d[s].com = cut; i = 0; \
        do \
        :: i < cut -> \
           if :: i < committed -> assert(LOG(s, i) == done[i]) :: else -> done[i] = LOG(s, i); by[i] = d[s].promised; committed = i + 1 fi; \
           t = 0; \
           do \
           :: t < DISKS -> \
              assert(!(d[t].role == LEADER && d[t].promised > d[s].promised && (d[t].length <= i || LOG(t, i) != LOG(s, i)))); t++ \
           :: else -> break od; \
           i++ \
        :: else -> break \
        od; \
        printf("disk %d commits %d\n", s, cut) \
     :: else fi }
#ifdef M_COMMIT_OLD
#define FROM_OWN_EPOCH(s) skip
#else
#define FROM_OWN_EPOCH(s) do :: cut <= d[s].length && EPOCH(LOG(s, cut - 1)) != d[s].promised -> cut++ :: else -> break od
#endif

#if defined(M_CHANGES_EARLY)
#define MAY_CHANGE(s) 1
#define BEGUN(s) 1
#else
#define BEGUN(s) (d[s].com > 0 && EPOCH(LOG(s, d[s].com - 1)) == d[s].promised)
#ifdef M_CHANGES_OVERLAP
#define MAY_CHANGE(s) BEGUN(s)
#else
#define MAY_CHANGE(s) (BEGUN(s) && VOTERS(LOG(s, d[s].com - 1)) == VOTERS(LAST(s)))
#endif
#endif

#define data(s) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && d[s].com > 0 && EPOCH(LOG(s, d[s].com - 1)) == d[s].promised -> \
     x = VOTERS(LAST(s)); append(s, x); printf("disk %d writes\n", s) }

#ifdef ANY_REMOVAL
#define OTHER_DISK(n) 1
#else
#define OTHER_DISK(n) ((n) == NODES - 1 && !d[x].up)
#endif
#ifdef ANY_REMOVAL
#define demote(s, o) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && s != o && (VOTERS(LAST(s)) >> (o) & 1) && MAY_CHANGE(s) -> \
     x = VOTERS(LAST(s)) & ~(1 << (o)); append(s, x); printf("disk %d: disk %d is no voter\n", s, o) }
#else
/* o has been seen; another disk of its node votes */
#define demote(s, o) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && NODE(s) != NODE(o) && WORD(s, o) > 0 && \
     !(VOTERS(LAST(s)) >> (o) & 1) && (VOTERS(LAST(s)) & DISKS_OF(NODE(o))) && MAY_CHANGE(s) -> \
     x = VOTERS(LAST(s)) & ~DISKS_OF(NODE(o)); append(s, x); printf("disk %d: node %d joins\n", s, NODE(o)) }
#endif
#ifdef M_REPLACE_IN_ONE
#define promote(s, o) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && NODE(s) != NODE(o) && WORD(s, o) > 0 && \
     !(VOTERS(LAST(s)) >> (o) & 1) && MAY_CHANGE(s) -> \
     x = (VOTERS(LAST(s)) & ~DISKS_OF(NODE(o))) | 1 << (o); append(s, x); printf("disk %d: disk %d votes\n", s, o) }
#else
#define promote(s, o) \
  :: d_step { d[s].up && d[s].role == LEADER && d[s].length < ENTRIES && NODE(s) != NODE(o) && WORD(s, o) > 0 && \
     !(VOTERS(LAST(s)) & DISKS_OF(NODE(o))) && MAY_CHANGE(s) -> \
     x = VOTERS(LAST(s)) | 1 << (o); append(s, x); printf("disk %d: disk %d votes\n", s, o) }
#endif

#ifdef M_EPOCH_TO_NUMBER
#define LIFE_OVER(s) skip
#else
#define LIFE_OVER(s) \
  t = 0; \
  do :: t < DISKS -> if :: d[t].to == NODE(s) + 1 -> d[t].to = GONE :: else fi; t++ :: else -> break od; SHELF_OVER(s)
#endif
#ifdef COPY
#define SHELF_OVER(s) if :: shelf.to == NODE(s) + 1 -> shelf.to = GONE :: else fi
#else
#define SHELF_OVER(s) skip
#endif
#ifdef COM_DURABLE
#define COMMITTED_LOST(s) skip
#else
#define COMMITTED_LOST(s) d[s].com = 0
#endif
#define crash(s) \
  :: d_step { d[s].up && crashes < CRASHES && maximum > 1 -> \
     crashes++; end_role(s); d[s].up = 0; COMMITTED_LOST(s); LIFE_OVER(s); printf("disk %d stops\n", s) }

#ifdef COPY
#define ALIVE(s) !((s) == X && dead)
#define START(s) if :: (s) == X -> starts = starts + 1; heard = 0; owed = 0 :: else fi
#else
#define ALIVE(s) 1
#define START(s) skip
#endif
#define ANY_UP(n) (d[n].up || ((n) == NODES - 1 && SPARE_UP))
#if DISKS == NODES
#define SPARE_UP 0
#elif DISKS == NODES + 1
#define SPARE_UP d[NODES].up
#else
#define SPARE_UP (d[NODES].up || d[NODES + 1].up)
#endif
#ifdef COPY
#define STARTABLE(s) ((s) != Y || dead)
#else
#define STARTABLE(s) 1
#endif
#define start(s) \
  :: d_step { !d[s].up && !ANY_UP(NODE(s)) && ALIVE(s) && STARTABLE(s) -> d[s].up = 1; START(s); BEGAN(s); printf("disk %d starts\n", s) }

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
#define E2(s) grant(s, 2)
#define E3(s) grant(s, 3)
#define E4(s) grant(s, 4)
#define E5(s) grant(s, 5)

active proctype cluster() {
  d_step {
    x = 0;
    do
    :: x < NODES -> d[x].up = 1; d[x].promised = 1; d[x].to = GONE; d[x].length = 1; LOG(x, 0) = ENTRY(1, (1 << NODES) - 1); x++
    :: else -> break
    od;
    done[0] = ENTRY(1, (1 << NODES) - 1); by[0] = 1
  };
  do
  EACH(E2) EACH(E3)
#if EPOCHS >= 4
  EACH(E4)
#endif
#if EPOCHS >= 5
  EACH(E5)
#endif
  PAIRS(seal) PAIRS(fetch) EACH(win) PAIRS(ack) PAIRS(copy_entry) EACH(flush) EACH(commit) EACH(data)
  PAIRS(demote) PAIRS(promote) EACH(crash) EACH(start)
#ifdef COPY
  :: d_step { !copied && (LIVE_COPY || !d[X].up) && maximum > 1 ->
     copied = 1; i = 0; shelf.length = (d[X].role == LEADER -> WORD(X, X) : d[X].length);
     shelf.promised = d[X].promised; shelf.to = (d[X].role == FOLLOWER -> d[X].to : GONE); shelf_starts = starts;
     do :: i < shelf.length -> copy[i] = LOG(X, i); i++ :: else -> break od;
     printf("the disk %d is copied\n", X) }
  :: d_step { copied && !restored && !dead && !d[X].up && d[0].up && d[1].up ->
     restored = 1; i = 0; d[X].length = shelf.length; d[X].promised = shelf.promised; d[X].to = shelf.to; starts = shelf_starts + 1;
     do :: i < ENTRIES -> LOG(X, i) = (i < shelf.length -> copy[i] : 0); copy[i] = 0; i++ :: else -> break od;
     d[X].up = 1; heard = 0; owed = 0;
     shelf.length = 0; shelf.promised = 0; shelf.to = 0; shelf_starts = 0;
     printf("the copy of disk %d is put back\n", X) }
  hello(0) hello(1)
  :: d_step { d[X].up && !dead && ((d[0].up && KNOWN(0)) || (d[1].up && KNOWN(1))) -> renew() }
#endif
  od
}
