/* connect.c: a connection to a name: the lookup, then attempts at its addresses, as RFC 8305 says.

   The future holds itself while it is pending, one reference to the lookup, and one to the socket and the future of each
   attempt under way.  Letting go of an attempt is to end these two: the last reference closes the socket. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "base/text.h"
#include "core/future.h"

#define DELAY_NS (250 * INT64_C(1000000))

typedef struct dial dial;

typedef struct attempt {
    np_waiter w;
    dial *d;
    neap_addr addr;
    neap_sock *sock; /* NULL: not under way */
    neap_future *f;
    int32_t code; /* of the failure */
} attempt;

struct dial {
    neap_future f;
    char *address;
    np_waiter w;         /* for the lookup */
    neap_future *lookup; /* NULL: none, or done */
    np_timer timer;      /* for the next attempt */
    np_waiter due;       /* its turn */
    neap_addr local;     /* family NEAP_AF_UNSPEC: none */
    int64_t delay_ns;
    uint32_t prefer;
    attempt *attempts; /* in the order in which they are made */
    uint32_t n;
    uint32_t begun;
};

static dial *of_future(neap_future *f) {
    return np_container(f, dial, f);
}

/* ---- Letting go */

static void drop_attempt(attempt *a) {
    neap_sock *sock = a->sock;
    if (a->w.node.where != NP_AT_NONE)
        np_dequeue(&a->w.node);
    neap_future_unref(a->f);
    a->f = NULL;
    a->sock = NULL;
    neap_sock_unref(sock);
}

static void drop_lookup(dial *d) {
    if (d->w.node.where != NP_AT_NONE)
        np_dequeue(&d->w.node);
    if (d->lookup == NULL)
        return;
    (void)np_future_cancel(d->lookup, NULL);
    neap_future_unref(d->lookup);
    d->lookup = NULL;
}

static void detach(dial *d) {
    drop_lookup(d);
    np_timer_stop(d->f.obj.loop, &d->timer);
    if (d->due.node.where != NP_AT_NONE)
        np_dequeue(&d->due.node);
    for (uint32_t i = 0; i < d->begun; i++)
        drop_attempt(&d->attempts[i]);
}

static void destroy(np_obj *obj) {
    dial *d = of_future(np_container(obj, neap_future, obj));
    detach(d);
    np_alloc_put_text(obj->loop->alloc, d->address);
    np_alloc_put(obj->loop->alloc, d->attempts, d->n * sizeof(attempt));
    np_future_fini(&d->f);
    np_obj_free(obj, sizeof *d);
}

static void fail(dial *d, int32_t code, const char *message) {
    detach(d);
    np_future_settle_error(&d->f, code, message);
    np_future_deactivate(&d->f);
}

static void win(dial *d, attempt *a) {
    d->f.kind = NEAP_KIND_SOCK;
    d->f.value.sock = a->sock;
    a->sock = NULL;
    detach(d);
    np_future_settle(&d->f, NEAP_STATE_RESULT);
    np_future_deactivate(&d->f);
}

static void end(neap_future *f) {
    fail(of_future(f), NEAP_ECLOSED, NULL);
}

/* A connection that is there is not thrown away. */
static int32_t cancel(neap_future *f, const char *msg) {
    dial *d = of_future(f);
    for (uint32_t i = 0; i < d->begun; i++) {
        attempt *a = &d->attempts[i];
        if (a->f != NULL && a->f->state == NEAP_STATE_RESULT) {
            win(d, a);
            return 0;
        }
    }
    detach(d);
    np_future_settle_cancelled(f, msg);
    np_future_deactivate(f);
    return 1;
}

/* ---- The outcome of all attempts */

/* A shortage of our own says most.  That an address cannot be reached from here says little if another one could be, and
   failed. */
static int how_telling(int32_t code) {
    switch (code) {
    case NEAP_ENOMEM:
    case NEAP_EMFILE:
    case -ENFILE:
    case -ENOBUFS:
        return 2;
    case -ENETUNREACH:
    case -EHOSTUNREACH:
    case -EAFNOSUPPORT:
    case NEAP_EADDRNOTAVAIL:
        return 0;
    default:
        return 1;
    }
}

static int32_t telling_code(const dial *d) {
    int32_t code = d->attempts[0].code;
    for (uint32_t i = 1; i < d->n; i++)
        if (how_telling(d->attempts[i].code) > how_telling(code))
            code = d->attempts[i].code;
    return code;
}

static void fail_all(dial *d) {
    char buf[1024] = "", addr[128];
    np_text text = {.bytes = buf, .cap = sizeof buf};
    int32_t code = telling_code(d);
    np_text_add(&text, "no address could be connected to");
    for (uint32_t i = 0; i < d->n; i++) {
        neap_addr_format(&d->attempts[i].addr, addr, sizeof addr);
        np_text_add(&text, "%s %s: %s", i == 0 ? ":" : ";", addr,
                    neap_strerror(d->attempts[i].code));
    }
    fail(d, code, d->n > 1 ? buf : NULL);
}

/* ---- Attempts */

/* 0, a code, or NEAP_PENDING; what it has then is the attempt's. */
static int32_t connect_one(attempt *a) {
    dial *d = a->d;
    int32_t sort = a->addr.family == NEAP_AF_UNIX ? NEAP_UNIX : NEAP_TCP;
    int32_t rc = neap_sock_new(d->f.obj.loop, sort, (int32_t)a->addr.family, &a->sock);
    if (rc == 0 && d->local.family != NEAP_AF_UNSPEC)
        rc = neap_sock_bind(a->sock, &d->local);
    if (rc == 0)
        rc = neap_sock_connect(a->sock, &a->addr, 0, &a->f);
    if (rc < 0 && rc != NEAP_PENDING)
        drop_attempt(a);
    return rc;
}

static bool any_under_way(const dial *d) {
    for (uint32_t i = 0; i < d->begun; i++)
        if (d->attempts[i].sock != NULL)
            return true;
    return false;
}

/* Lets the next attempt come after the delay; without memory for the timer it comes when this one has failed. */
static void start_delay(dial *d) {
    neap_loop *loop = d->f.obj.loop;
    np_timer_stop(loop, &d->timer);
    if (d->begun < d->n && d->delay_ns >= 0)
        (void)np_timer_start(loop, &d->timer, np_time_add(loop->now, d->delay_ns));
}

static void connect_next(dial *d) {
    while (d->begun < d->n) {
        attempt *a = &d->attempts[d->begun++];
        int32_t rc = connect_one(a);
        if (rc == 0) {
            win(d, a);
            return;
        }
        if (rc == NEAP_PENDING) {
            np_future_wait(a->f, &a->w.node);
            start_delay(d);
            return;
        }
        a->code = rc;
    }
    if (!any_under_way(d))
        fail_all(d);
}

static void attempt_done(np_waiter *w) {
    attempt *a = np_container(w, attempt, w);
    dial *d = a->d;
    a->code = neap_future_error(a->f);
    if (a->code == 0) {
        win(d, a);
        return;
    }
    drop_attempt(a);
    if (np_enter(d->f.obj.loop) == 0) /* else the loop closes, which ends this future, too */
        connect_next(d);
}

static void delay_over(neap_loop *loop, np_timer *t, bool ended) {
    if (!ended)
        np_enqueue_waiter(loop, &np_container(t, dial, timer)->due);
}

static void turn_has_come(np_waiter *w) {
    connect_next(np_container(w, dial, due));
}

/* ---- Addresses */

static uint32_t take_family(const neap_addrs *addrs, uint32_t family, bool same, uint32_t from) {
    neap_addr addr;
    for (; neap_addrs_get(addrs, from, &addr) == 0; from++)
        if ((addr.family == family) == same)
            break;
    return from;
}

/* Takes the families in turn, each in the order in which it stands. */
static void put_in_order(dial *d, const neap_addrs *addrs) {
    uint32_t at[2] = {0, 0}, turn = 0, family = d->prefer;
    neap_addr first;
    (void)neap_addrs_get(addrs, 0, &first);
    if (family == NEAP_AF_UNSPEC)
        family = first.family;
    for (uint32_t i = 0; i < d->n; turn = 1 - turn) {
        uint32_t next = take_family(addrs, family, turn == 0, at[turn]);
        if (neap_addrs_get(addrs, next, &d->attempts[i].addr) < 0)
            continue;
        at[turn] = next + 1;
        i++;
    }
}

/* Room for so many attempts. */
static int32_t make_attempts(dial *d, uint32_t n) {
    d->attempts = np_alloc_get(d->f.obj.loop->alloc, n * sizeof(attempt));
    if (d->attempts == NULL)
        return NEAP_ENOMEM;
    memset(d->attempts, 0, n * sizeof(attempt));
    d->n = n;
    for (uint32_t i = 0; i < n; i++) {
        np_ready_init(&d->attempts[i].w.node, NP_RUN_WAITER);
        d->attempts[i].w.fire = attempt_done;
        d->attempts[i].d = d;
    }
    return 0;
}

static void connect_to(dial *d, const neap_addrs *addrs) {
    int32_t rc = make_attempts(d, (uint32_t)neap_addrs_count(addrs));
    if (rc < 0) {
        fail(d, rc, NULL);
        return;
    }
    put_in_order(d, addrs);
    connect_next(d);
}

static void looked_up(np_waiter *w) {
    dial *d = np_container(w, dial, w);
    neap_future *lookup = d->lookup;
    neap_addrs *addrs;
    int32_t rc = neap_future_get_addrs(lookup, &addrs);
    d->lookup = NULL;
    if (rc < 0)
        fail(d, rc, neap_future_message(lookup));
    else
        connect_to(d, addrs);
    neap_future_unref(lookup);
}

/* ---- Starting */

static const char *what(const neap_future *f) {
    (void)f;
    return "a connection";
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    snprintf(buf, cap, " to %s", np_container(f, dial, f)->address);
}

static neap_future *part(const neap_future *f, size_t i) {
    const dial *d = np_container(f, dial, f);
    if (d->lookup != NULL)
        return i == 0 ? d->lookup : NULL;
    for (uint32_t at = 0; at < d->begun; at++)
        if (d->attempts[at].f != NULL && i-- == 0)
            return d->attempts[at].f;
    return NULL;
}

static const np_future_type dial_type = {.base = {.name = "a connection", .destroy = destroy},
                                         .cancel = cancel,
                                         .end = end,
                                         .what = what,
                                         .part = part,
                                         .detail = detail};

int32_t neap_future_tried(neap_future *future, size_t index, neap_addr *ret_addr,
                          int32_t *ret_code) {
    int32_t rc = future == NULL || ret_addr == NULL || ret_code == NULL ? NEAP_EINVAL
                                                                        : np_look(future->obj.loop);
    if (rc < 0)
        return rc;
    neap_future *o = np_future_origin(future);
    if (o->obj.type != &dial_type.base || o->state != NEAP_STATE_ERROR ||
        index >= of_future(o)->begun)
        return 0;
    *ret_addr = of_future(o)->attempts[index].addr;
    *ret_code = of_future(o)->attempts[index].code;
    return 1;
}

static dial *make_dial(neap_loop *loop, const char *address, const neap_connect_options *o) {
    neap_future *f = np_future_new(loop, &dial_type, sizeof(dial));
    if (f == NULL)
        return NULL;
    dial *d = of_future(f);
    f->flags |= NP_F_RESOURCE;
    np_ready_init(&d->w.node, NP_RUN_WAITER);
    np_ready_init(&d->due.node, NP_RUN_WAITER);
    d->w.fire = looked_up;
    d->due.fire = turn_has_come;
    np_timer_init(&d->timer, delay_over);
    d->delay_ns = o->delay_ns != 0 ? o->delay_ns : DELAY_NS;
    d->prefer = (uint32_t)o->prefer;
    if (o->local != NULL)
        d->local = *o->local;
    d->address = np_alloc_text(loop->alloc, address);
    if (d->address != NULL)
        return d;
    np_future_unref(f);
    return NULL;
}

/* Splits "host:port" in place; NEAP_EVALUE for what is no such thing. */
static int32_t split(char *text, const char **ret_host, const char **ret_service) {
    char *colon = strrchr(text, ':'), *host = text;
    if (colon == NULL || colon == text || colon[1] == '\0' || strchr("@/", text[0]) != NULL)
        return NEAP_EVALUE;
    *colon = '\0';
    if (host[0] == '[' && colon[-1] == ']') {
        host++;
        colon[-1] = '\0';
    } else if (strchr(host, ':') != NULL) {
        return NEAP_EVALUE; /* an IPv6 address needs its brackets */
    }
    *ret_host = host;
    *ret_service = colon + 1;
    return 0;
}

/* Addresses now, or a future for them in d->lookup. */
static int32_t look_up(dial *d, char *text, neap_addrs **ret_addrs) {
    const char *host, *service;
    int32_t rc = split(text, &host, &service);
    int32_t family = (int32_t)d->local.family;
    if (rc == 0)
        rc = neap_getaddrinfo(d->f.obj.loop, host, service, family, 0, ret_addrs, &d->lookup);
    if (rc == NEAP_PENDING)
        np_future_wait(d->lookup, &d->w.node);
    return rc;
}

/* A Unix address, which no name stands for. */
static int32_t use_addr(dial *d, const neap_addr *addr) {
    bool usable = d->local.family == NEAP_AF_UNSPEC || d->local.family == addr->family;
    int32_t rc = usable ? make_attempts(d, 1) : NEAP_ENAME_NO_ADDRESS;
    if (rc == 0)
        d->attempts[0].addr = *addr;
    return rc;
}

static int32_t begin(dial *d, char *text) {
    neap_addrs *addrs = NULL;
    neap_addr addr;
    bool is_unix = neap_addr_parse(text, &addr) == 0 && addr.family == NEAP_AF_UNIX;
    int32_t rc = is_unix ? use_addr(d, &addr) : look_up(d, text, &addrs);
    if (rc < 0 && rc != NEAP_PENDING)
        return rc;
    d->f.flags |= NP_F_ACTIVE;
    np_future_ref(&d->f);
    if (is_unix)
        connect_next(d);
    else if (rc == 0)
        connect_to(d, addrs);
    neap_addrs_unref(addrs);
    return 0;
}

int32_t neap_connect(neap_loop *loop, const char *address, const neap_connect_options *options,
                     neap_future **ret_future) {
    neap_connect_options o;
    int32_t rc =
        loop == NULL || address == NULL || ret_future == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0)
        rc = np_options_read(&o, sizeof o, options);
    if (rc == 0 && (o.delay_ns < -1 || (o.prefer != NEAP_AF_UNSPEC && o.prefer != NEAP_AF_INET &&
                                        o.prefer != NEAP_AF_INET6)))
        rc = NEAP_EVALUE;
    dial *d = rc < 0 ? NULL : make_dial(loop, address, &o);
    char *text = d != NULL ? np_alloc_text(loop->alloc, address) : NULL;
    if (rc == 0)
        rc = text != NULL ? begin(d, text) : NEAP_ENOMEM;
    if (text != NULL)
        np_alloc_put(loop->alloc, text, strlen(address) + 1); /* it was cut up */
    if (rc == 0)
        return np_future_give(&d->f, ret_future);
    if (d != NULL)
        np_future_unref(&d->f);
    return rc;
}
