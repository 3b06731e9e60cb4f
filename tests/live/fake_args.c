/*
 * fake_args.c - see fake_args.h. Each parameter of each statement has a letter that says what
 * belongs there; arrays of one statement have one length, and what belongs together in a row (a
 * call's job, number and worker; a batch's id and time) is picked together. One statement in twelve
 * is spoilt: one value is NULL, no UTF-8, or out of all bounds.
 */
#include "tests/live/fake_args.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/fake_pg_impl.h"

/*
 * w worker   j job   b the job's batch, mostly   x a batch or NULL   B batch   M its time
 * J N W a call's job, number, worker   n number   k small number   ? small number or NULL
 * c cost or NULL   s status   C class   e classes   f flag   a wait   d deadline or NULL
 * Z time   z time or NULL   T text   t text or NULL   Y bytes   y bytes or NULL   q source
 * S lease in seconds   P seconds past it   l limit   p limit of pull   E limit of wake_expired
 * r rows   D letters   g key or priority   K R U key, priority and apps of pull
 * v time waited   V version or NULL
 * L endpoint   h limit   A count of asks   m units   i o u a share's limit, worker, asks   G day
 */
static const struct {
    const char *statement, *letters;
} kinds[] = {
    {"claim", "wjnkbkk?ccf"},
    {"fence", "jP"},
    {"facts", "jwee"},
    {"lose", "j"},
    {"take", "wjnkbkk?ccf"},
    {"drop_done", "j"},
    {"park", "wjbadfggnkkcvvkkkt??zYyTt"},
    {"pull", "wKRUp"},
    {"bury", "qCTt??zYyj"},
    {"pay", "Tmm"},
    {"store", "jbZc??????????VksC??kkTttTTtttttytjqx?CktttttTt??zYy"},
    {"store_called", "jbZc??????????VksC??kkTttTTtttttyt"},
    {"outcome", "JNWCkc???????ttt"},
    {"register", "TkTS"},
    {"heartbeat", "wS"},
    {"stop", "w"},
    {"stop_free", "w"},
    {"fence_dead", "P"},
    {"free_taken", ""},
    {"due", "l"},
    {"wake_expired", "E"},
    {"wake_key", "KRl"},
    {"cancelled", "z"},
    {"held", ""},
    {"skips", ""},
    {"others_wait", "gTZ"},
    {"parked_count", "gl"},
    {"batch_seen", "BTTtt?M"},
    {"elect", ""},
    {"partitions", ""},
    {"oldest_live", ""},
    {"roll_up", "r"},
    {"figures", "l"},
    {"letters", "l"},
    {"published", "D"},
    {"durable", ""},
    {"limits", ""},
    {"exchange", "wAhYmmmm"},
    {"leave", "wh"},
    {"shares", ""},
    {"share", "iom"},
    {"share_dead", "iou"},
    {"day_take", "whm"},
    {"day_give", "hGm"},
    {"learned", "w"},
    {"learned_pause", "LaCkf"},
    {"learned_open", "wL"},
    {"learned_probe", "waLf"},
    {"learned_leave", "wL"},
    {"learned_bears", "Lk"},
    {"learned_lower", "aLa"},
    {"learned_raise", "a"},
};

static const char *const endpoints[] = {"e1@1", "e2@1", "e3@1", "e4@1",
                                        "e5@1", "e6@1", "e7@1", "e8@1"};
static const char *const texts[] = {"", "a", "b", "Grüße aus Köln", "app/1", "0"};

#define DAY_US INT64_C(86400000000)

enum { TEXTS = sizeof texts / sizeof texts[0] };
_Static_assert(ARGS_ROWS_MAX <= (int)TEXTS, "the apps of a pull are each named once");
enum { SPOILT_PERCENT = 8, STORE_LETTERS_FROM = 34, NOWHERE = -1 };

/* ---- chance ------------------------------------------------------------------------------- */

static uint64_t next_random(struct args *a) /* splitmix64 */
{
    uint64_t z = a->random += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

int64_t args_below(struct args *a, int64_t n)
{
    return (int64_t)(next_random(a) % (uint64_t)n);
}

bool args_chance(struct args *a, int percent)
{
    return args_below(a, 100) < percent;
}

void args_init(struct args *a, uint64_t seed, const struct fake_pg *db, int64_t start_us)
{
    static const char *const names[] = {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10"};
    *a = (struct args){.random = seed, .db = db, .now_us = start_us};
    for (int i = 0; i < ARGS_BATCHES; i++) {
        a->batch_ms[i] = start_us / 1000 - 1000 * (i + 1);
        a->batch[i] = batchid_make(a->batch_ms[i], SPAN_LIT("app"), span_of(names[i]));
    }
    for (int i = 0; i < ARGS_JOBS; i++) {
        bool lost = i == ARGS_JOBS - 1;
        a->job[i] = jobid_make(lost ? 1000 : a->batch_ms[i % ARGS_BATCHES], SPAN_LIT("app"),
                               SPAN_LIT("b"), span_of(names[i]), 0);
    }
}

/* ---- what belongs together ---------------------------------------------------------------- */

struct row {
    int job; /* index in args.job */
    int batch;
    const struct fake_call_row *call;   /* may be NULL */
    const struct fake_share_row *share; /* may be NULL */
    int limit;
};

struct fill {
    struct args *a;
    struct pg_params *p;
    struct row rows[ARGS_ROWS_MAX];
    int n;
    const struct fake_parked_row *from; /* of pull */
    bool spoil;                         /* the next value */
};

/* Jobs of a statement: mostly each once, and mostly those that have a partition. */
static int pick_job(struct fill *f, int row)
{
    int jobs = args_chance(f->a, 4) ? ARGS_JOBS : ARGS_JOBS - 1;
    int job = (int)args_below(f->a, jobs);
    for (int i = 0, tries = 0; i < row && tries < 20; i++)
        if (f->rows[i].job == job && !args_chance(f->a, 15)) {
            job = (int)args_below(f->a, jobs);
            i = -1;
            tries++;
        }
    return job;
}

static void pick_rows(struct fill *f, int n)
{
    int calls = fake_pg_count(f->a->db, FAKE_CALL), shares = fake_pg_count(f->a->db, FAKE_SHARE);
    int limit = (int)args_below(f->a, 8);
    f->n = n;
    for (int i = 0; i < n; i++) {
        f->rows[i] = (struct row){.job = pick_job(f, i), .batch = (int)args_below(f->a, 3)};
        if (calls > 0 && args_chance(f->a, 90))
            f->rows[i].call = fake_pg_call_at(f->a->db, (int)args_below(f->a, calls));
        if (shares > 0 && args_chance(f->a, 95))
            f->rows[i].share = fake_pg_share_at(f->a->db, (int)args_below(f->a, shares));
        /* One after the other: one twice is a failure. Some are none. */
        f->rows[i].limit = 1 + (args_chance(f->a, 3) ? limit : (limit + i) % 8);
    }
}

static int64_t pick_worker(struct args *a)
{
    int n = fake_pg_count(a->db, FAKE_WORKER);
    if (n == 0 || args_chance(a, 2))
        return 1000;
    for (int tries = 0; tries < 10; tries++) {
        const struct fake_worker_row *w = fake_pg_worker_at(a->db, (int)args_below(a, n));
        if (!w->fenced || args_chance(a, 20))
            return w->worker_id;
    }
    return fake_pg_worker_at(a->db, n - 1)->worker_id;
}

/* ---- limits ------------------------------------------------------------------------------- */

static int cmp_times(const void *x, const void *y)
{
    int64_t a = *(const int64_t *)x, b = *(const int64_t *)y;
    return (a > b) - (a < b);
}

/* SQL leaves open which of equally old rows a limit takes: so it ends between unequal ones. */
static int64_t clear_limit(int64_t *times, int n, int64_t limit)
{
    qsort(times, (size_t)n, sizeof *times, cmp_times);
    while (limit > 0 && limit < n && times[limit - 1] == times[limit])
        limit++;
    return limit;
}

/* Apps as `park` has them, from one of the row that was looked at on, each once. */
static struct span pull_app(struct fill *f, const struct row *row)
{
    size_t at = 0;
    while (at < TEXTS - 1 && !span_is(f->from->app, texts[at]))
        at++;
    return span_of(texts[(at + (size_t)(row - f->rows)) % TEXTS]);
}

static int64_t pull_limit(struct fill *f, const struct row *row)
{
    int64_t times[ARGS_JOBS + 1] = {0};
    int n = 0;
    for (int i = 0; i < fake_pg_count(f->a->db, FAKE_PARKED); i++) {
        const struct fake_parked_row *p = fake_pg_parked_at(f->a->db, i);
        if (p->wait_key == f->from->wait_key && p->priority == f->from->priority &&
            p->taken_by == FAKE_NULL && span_eq(p->app, pull_app(f, row)))
            times[n++] = p->next_at;
    }
    return clear_limit(times, n, args_below(f->a, 4));
}

static int64_t wake_limit(struct fill *f)
{
    int64_t times[ARGS_JOBS + 1] = {0};
    int n = 0;
    for (int i = 0; i < fake_pg_count(f->a->db, FAKE_PARKED); i++) {
        const struct fake_parked_row *p = fake_pg_parked_at(f->a->db, i);
        if (p->taken_by == FAKE_NULL && p->deadline_at != FAKE_NULL)
            times[n++] = p->deadline_at;
    }
    return clear_limit(times, n, args_below(f->a, 4));
}

static const struct fake_parked_row no_row = {.wait_key = 1, .priority = 1};

/* A row, one that waits if there is any, and with it the key and priority to ask for. */
static const struct fake_parked_row *pull_from(struct fill *f)
{
    int n = fake_pg_count(f->a->db, FAKE_PARKED);
    for (int tries = 0; tries < 5 && n > 0; tries++) {
        f->from = fake_pg_parked_at(f->a->db, (int)args_below(f->a, n));
        if (f->from->taken_by == FAKE_NULL && f->from->next_at <= f->a->now_us)
            break;
    }
    return f->from;
}

/* ---- single values ------------------------------------------------------------------------ */

static int64_t number_for(struct fill *f, char letter, const struct row *row)
{
    /* that a job is too long is said more often, as twice of one version is not twice */
    static const int classes[] = {1, 15, 16, 30, 32, 34, 34, 34, 34, 39, 43, 46};
    static const int exempt[] = {39, 35, 30, 46};
    struct args *a = f->a;
    int letters = fake_pg_count(a->db, FAKE_LETTER);
    switch (letter) {
    case 'w':
        return pick_worker(a);
    case 'N':
        return row->call ? row->call->number : 1;
    case 'W':
        return row->call && !args_chance(a, 10) ? row->call->worker_id : pick_worker(a);
    case 'n':
        return args_chance(a, 70) ? 1 : 1 + args_below(a, 3);
    case 'M':
        return a->batch_ms[row->batch];
    case 'c': /* now and then so much that two of it are too much */
        return args_below(a, 4) == 0 ? INT64_C(5000000000000000000) : args_below(a, 1000);
    case 'v':
        return args_below(a, 15) == 0 ? INT64_MAX : args_below(a, 1000000);
    case 'V':
    case 'g':
        return args_below(a, 2);
    case 'K':
        return pull_from(f)->wait_key;
    case 'R':
        return f->from->priority;
    case 's':
        return args_chance(a, 60) ? 1 : 1 + args_below(a, 4);
    case 'C':
        return classes[args_below(a, sizeof classes / sizeof classes[0])];
    case 'e':
        return exempt[row - f->rows];
    case 'a':
        return args_chance(a, 30) ? 0 : args_below(a, 20 * 1000 * 1000);
    case 'S':
        return args_chance(a, 90) ? 15 : 1 + args_below(a, 30);
    case 'P':
        return args_chance(a, 60) ? 5 : args_below(a, 10);
    case 'l':
        return args_below(a, 6);
    case 'p':
        return pull_limit(f, row);
    case 'E':
        return wake_limit(f);
    case 'r':
        return args_below(a, 4);
    case 'h':
        return row->limit;
    case 'A': /* it rises; now and then a late one comes */
        return a->now_us / 1000 - (args_chance(a, 15) ? args_below(a, 20000) : 0);
    case 'm':
        return args_below(a, 100);
    case 'i':
        return row->share ? row->share->limit_id : row->limit;
    case 'o':
        return row->share ? row->share->worker_id : pick_worker(a);
    case 'u':
        return row->share && !args_chance(a, 20) ? row->share->asks : 1;
    case 'G':
        return a->now_us / DAY_US - (args_chance(a, 10) ? 1 : 0);
    case 'D':
        return letters > 0 && !args_chance(a, 10)
                   ? fake_pg_letter_at(a->db, (int)args_below(a, letters))->dead_id
                   : 777;
    default: /* k ? */
        return args_below(a, 3);
    }
}

static bool is_null(struct fill *f, char letter)
{
    return strchr("?xdztyV", letter) ? args_chance(f->a, 35)
                                     : letter == 'c' && args_chance(f->a, 20);
}

/* Milliseconds, as the workers give times. */
static int64_t time_for(struct fill *f, char letter)
{
    int64_t now_ms = f->a->now_us / 1000;
    return letter == 'd' ? now_ms - 20000 + args_below(f->a, 60000)
                         : now_ms - args_below(f->a, 5000);
}

static const struct jobid *id_for(struct fill *f, char letter, const struct row *row)
{
    struct args *a = f->a;
    switch (letter) {
    case 'j':
        return &a->job[row->job];
    case 'J':
        return row->call ? &row->call->job_id : &a->job[row->job];
    case 'b':
        return &a->batch[args_chance(a, 90) ? row->job % ARGS_BATCHES : row->batch];
    default: /* x B */
        return &a->batch[row->batch];
    }
}

static struct span text_for(struct fill *f, char letter, const struct row *row)
{
    static const char bytes[] = "\x00\x01\xff\xfe\x80z";
    if (letter == 'L')
        return span_of(endpoints[row->limit - 1]);
    if (letter == 'q') { /* a source */
        static const char *const sources[] = {"s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7"};
        return span_of(sources[args_below(f->a, 8)]);
    }
    if (letter == 'Y' || letter == 'y')
        return (struct span){bytes, (size_t)args_below(f->a, sizeof bytes)};
    if (letter == 'U')
        return pull_app(f, row);
    return span_of(texts[args_below(f->a, TEXTS)]);
}

/* What no worker sends; NULL: absent. */
static struct span bad_text(struct fill *f)
{
    static const struct span bad[] = {{NULL, 0},   {NULL, 0},       {"\xff", 1},
                                      {"a\0b", 3}, {"\xc0\x80", 2}, {"\xed\xa0\x80", 3}};
    return bad[args_below(f->a, 6)];
}

static int64_t bad_number(struct fill *f, char letter, enum pg_type type)
{
    if (strchr("lpE", letter))
        return -1;
    if (letter == 'P') /* no bad ones: whether they are looked at is the planner's choice */
        return 0;
    if (type == PG_INT2)
        return args_chance(f->a, 50) ? INT16_MAX : INT16_MIN;
    if (type == PG_INT4)
        return args_chance(f->a, 50) ? INT32_MAX : INT32_MIN;
    return args_chance(f->a, 50) ? INT64_MAX : INT64_MIN / 2 - 1;
}

/* ---- parameters --------------------------------------------------------------------------- */

static enum pg_type type_of(char type)
{
    static const char letters[] = "bsiltyuz"; /* in the order of enum pg_type */
    const char *at = strchr(letters, tolower((unsigned char)type));
    assert(at);
    return (enum pg_type)(at - letters);
}

static void element(struct fill *f, char letter, enum pg_type type, const struct row *row)
{
    bool spoil = f->spoil, text = type == PG_TEXT, bytes = text || type == PG_BYTEA;
    bool number = !bytes && type != PG_UUID && type != PG_BOOL && type != PG_TIMESTAMPTZ;
    f->spoil = false;
    if (is_null(f, letter) || (spoil && (args_chance(f->a, 50) || (!text && !number))))
        pg_elem_null(f->p);
    else if (bytes)
        pg_elem_span(f->p, spoil && text ? bad_text(f) : text_for(f, letter, row));
    else if (type == PG_UUID)
        pg_elem_uuid(f->p, id_for(f, letter, row));
    else if (type == PG_BOOL)
        pg_elem_bool(f->p, args_chance(f->a, 25));
    else if (type == PG_TIMESTAMPTZ)
        pg_elem_time_ms(f->p, time_for(f, letter));
    else
        pg_elem_int(f->p, spoil ? bad_number(f, letter, type) : number_for(f, letter, row));
}

static void scalar(struct fill *f, char letter, enum pg_type type)
{
    bool spoil = f->spoil;
    f->spoil = false;
    if (spoil && args_chance(f->a, 50)) {
        pg_add_null(f->p, type);
        return;
    }
    if (type == PG_TEXT) {
        pg_add_text(f->p, spoil ? bad_text(f) : text_for(f, letter, &f->rows[0]));
        return;
    }
    if (type == PG_TIMESTAMPTZ) {
        pg_add_time_ms(f->p, time_for(f, letter));
        return;
    }
    pg_add_int(f->p, type,
               spoil ? bad_number(f, letter, type) : number_for(f, letter, &f->rows[0]));
}

static void array(struct fill *f, char letter, enum pg_type type)
{
    int n = letter == 'e' ? 4 : f->n, bad = NOWHERE;
    if (f->spoil && n > 0)
        bad = (int)args_below(f->a, n);
    if (f->spoil && args_chance(f->a, 10)) { /* shorter than its neighbours */
        n -= n > 0;
        bad = NOWHERE;
    }
    pg_array(f->p, type);
    for (int i = 0; i < n; i++) {
        f->spoil = i == bad;
        element(f, letter, type, &f->rows[i]);
    }
    f->spoil = false;
}

static const char *letters_of(const char *statement)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
        if (strcmp(kinds[i].statement, statement) == 0)
            return kinds[i].letters;
    return NULL;
}

void args_fill(struct args *a, const char *statement, struct pg_params *p)
{
    struct fill f = {.a = a, .p = p, .from = &no_row};
    const char *letters = letters_of(statement);
    const char *types = fake_verb_find(statement)->types;
    int count = (int)strlen(types), bad = NOWHERE;
    assert(letters && (int)strlen(letters) == count);
    if (count > 0 && args_chance(a, SPOILT_PERCENT))
        bad = (int)args_below(a, count);
    (void)pull_from(&f);
    pg_params_reset(p);
    /* Few results mostly, so that there is life before them. */
    bool few = strncmp(statement, "store", 5) == 0 && !args_chance(a, 20);
    pick_rows(&f, 1 + (int)args_below(a, few ? 2 : ARGS_ROWS_MAX));
    for (int i = 0; i < count; i++) {
        if (i == STORE_LETTERS_FROM) /* the dead letters: fewer, mostly of the jobs that end */
            f.n = (int)args_below(a, f.n + 1);
        f.spoil = i == bad;
        if (isupper((unsigned char)types[i]))
            array(&f, letters[i], type_of(types[i]));
        else
            scalar(&f, letters[i], type_of(types[i]));
    }
}
