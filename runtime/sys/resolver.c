/* resolver.c: lookups: answered on the spot, or handed to an engine and completed when the answer comes home. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/options.h"
#include "sys/resolver.h"
#include "sys/sys.h"

enum {
    ENGINES = 2
};

static const np_engine *const engines[ENGINES] = {&np_engine_ares, &np_engine_system};

struct np_resolver {
    const np_engine *engine; /* for what is asked from now on */
    void *impl[ENGINES];     /* made when first needed */
    np_settings *settings;
    np_list queries; /* with an engine, or on their way back */
    np_names names;
};

typedef struct lookup {
    neap_future f;
    np_query *query; /* NULL once it is done or let go */
} lookup;

static lookup *of_future(neap_future *f) {
    return np_container(f, lookup, f);
}

/* ---- Settings */

static const char *put_text(char **to, const char *text) {
    if (text == NULL)
        return NULL;
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*to, text, size);
    *to += size;
    return copy;
}

static np_settings *make_settings(np_alloc *alloc, const neap_resolver_options *o) {
    size_t size = sizeof(np_settings) + (o->servers != NULL ? strlen(o->servers) + 1 : 0) +
                  (o->resolv_conf != NULL ? strlen(o->resolv_conf) + 1 : 0);
    np_settings *s = np_alloc_get(alloc, size);
    if (s == NULL)
        return NULL;
    char *text = (char *)(s + 1);
    s->alloc = np_alloc_ref(alloc);
    atomic_init(&s->refs, 1);
    s->size = size;
    s->servers = put_text(&text, o->servers);
    s->conf = put_text(&text, o->resolv_conf);
    s->timeout_ns = o->timeout_ns;
    s->tries = o->tries;
    return s;
}

static const np_engine *find_engine(const char *name) {
    for (size_t i = 0; i < ENGINES; i++)
        if (engines[i]->name != NULL && (name == NULL || strcmp(engines[i]->name, name) == 0))
            return engines[i];
    return NULL;
}

static int32_t check_servers(const char *servers) {
    char one[128];
    neap_addr addr;
    for (; servers != NULL; servers = *servers != '\0' ? servers + 1 : NULL) {
        size_t n = strcspn(servers, ",");
        if (n >= sizeof one)
            return NEAP_EVALUE;
        memcpy(one, servers, n);
        one[n] = '\0';
        if (neap_addr_parse(one, &addr) < 0 || neap_addr_port(&addr) == 0)
            return NEAP_EVALUE;
        servers += n;
    }
    return 0;
}

/* ---- The loop's resolver */

static int32_t make_resolver(neap_loop *loop) {
    const neap_resolver_options defaults = {.size = sizeof defaults};
    np_resolver *r = np_alloc_get(loop->alloc, sizeof *r);
    np_settings *s = r != NULL ? make_settings(loop->alloc, &defaults) : NULL;
    if (s == NULL) {
        np_alloc_put(loop->alloc, r, sizeof *r);
        return NEAP_ENOMEM;
    }
    memset(r, 0, sizeof *r);
    r->engine = find_engine(NULL);
    r->settings = s;
    np_list_init(&r->queries);
    np_names_init(&r->names, loop->alloc);
    loop->resolver = r;
    np_sys_attach(loop);
    return 0;
}

static int32_t enter(neap_loop *loop) {
    int32_t rc = loop == NULL ? NEAP_EINVAL : np_enter(loop);
    return rc < 0 || loop->resolver != NULL ? rc : make_resolver(loop);
}

int32_t neap_loop_set_resolver(neap_loop *loop, const neap_resolver_options *options) {
    neap_resolver_options o;
    int32_t rc = enter(loop);
    if (rc == 0)
        rc = np_options_read(&o, sizeof o, options);
    if (rc < 0)
        return rc;
    np_resolver *r = loop->resolver;
    const np_engine *engine = find_engine(o.engine);
    bool configured =
        o.servers != NULL || o.resolv_conf != NULL || o.timeout_ns != 0 || o.tries != 0;
    if (engine == NULL || (configured && !engine->configurable))
        return NEAP_ENOTSUP;
    if (o.timeout_ns < 0 || o.negative_ns < 0 || o.tries > INT16_MAX)
        return NEAP_EVALUE;
    rc = check_servers(o.servers);
    np_settings *s = rc < 0 ? NULL : make_settings(loop->alloc, &o);
    if (s == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_settings_unref(r->settings);
    r->settings = s;
    r->engine = engine;
    np_names_clear(&r->names);
    r->names.max = o.cache;
    r->names.negative_ns = o.negative_ns;
    return 0;
}

const char *neap_loop_resolver(neap_loop *loop) {
    if (loop == NULL || np_look(loop) < 0)
        return "";
    const np_engine *e = loop->resolver != NULL ? loop->resolver->engine : find_engine(NULL);
    return e->name;
}

static int32_t open_engine(neap_loop *loop, void **ret_impl) {
    np_resolver *r = loop->resolver;
    for (size_t i = 0; i < ENGINES; i++) {
        if (engines[i] != r->engine)
            continue;
        int32_t rc = r->impl[i] != NULL ? 0 : r->engine->open(loop, &r->impl[i]);
        *ret_impl = r->impl[i];
        return rc;
    }
    return NEAP_ENOTSUP;
}

/* ---- The life of a query */

static void free_query(np_query *q) {
    neap_loop *loop = q->post.loop;
    np_list_unlink(&q->all);
    np_settings_unref(q->settings);
    neap_addrs_unref(q->known);
    neap_addrs_unref(q->addrs);
    np_alloc_put(loop->alloc, q, sizeof *q);
    np_loop_let_go(loop);
}

/* "example.org: no such name (ARES_ENOTFOUND), after 1.5 s in the queue" */
static void write_failure(const np_query *q, char *buf, size_t cap) {
    bool of_service = q->code == NEAP_ESERVICE_NOT_FOUND;
    int n = snprintf(buf, cap, "%s: %s", of_service ? q->service : q->host, neap_strerror(q->code));
    if (q->cause != NULL && n > 0 && (size_t)n < cap)
        n += snprintf(buf + n, cap - (size_t)n, " (%s)", q->cause);
    if (q->queued_ns > 0 && n > 0 && (size_t)n < cap)
        snprintf(buf + n, cap - (size_t)n, ", after %.3g s in the queue",
                 (double)q->queued_ns / 1e9);
}

static void settle(np_query *q) {
    char text[NP_HOST_MAX + 256];
    neap_future *f = q->f;
    q->f = NULL;
    of_future(f)->query = NULL;
    f->obj.loop->jobs--;
    if (q->code == 0) {
        np_addrs_give(q->addrs, f);
        q->addrs = NULL;
        np_future_settle(f, NEAP_STATE_RESULT);
    } else {
        write_failure(q, text, sizeof text);
        np_future_settle_error(f, q->code, text);
    }
    np_future_deactivate(f);
}

/* The answer is home; after the loop's close this is on whatever thread brings it. */
static void arrived(np_obj *obj, bool discard) {
    np_query *q = np_container(obj, np_query, post);
    neap_loop *loop = obj->loop;
    if (!discard && loop->resolver != NULL && q->settings == loop->resolver->settings)
        np_names_keep(&loop->resolver->names, q, loop->now);
    if (q->f != NULL)
        settle(q);
    free_query(q);
}

static const np_type query_type = {.name = "lookup", .arrived = arrived};

static np_query *make_query(neap_loop *loop, const char *host, const char *service) {
    np_query *q = np_alloc_get(loop->alloc, sizeof *q);
    if (q == NULL)
        return NULL;
    memset(q, 0, sizeof *q);
    q->post.loop = loop;
    q->post.type = &query_type;
    np_loop_keep(loop);
    np_list_init(&q->all);
    np_list_init(&q->link);
    q->settings = loop->resolver->settings;
    atomic_fetch_add_explicit(&q->settings->refs, 1, memory_order_relaxed);
    q->since_ns = np_clock_ns();
    snprintf(q->host, sizeof q->host, "%s", host);
    snprintf(q->service, sizeof q->service, "%s", service);
    return q;
}

/* ---- Its future */

/* Nobody waits for the answer any more. */
static void let_go(lookup *l) {
    if (l->query == NULL)
        return;
    l->f.obj.loop->jobs--;
    atomic_store_explicit(&l->query->unwanted, true, memory_order_relaxed);
    l->query->f = NULL;
    l->query = NULL;
}

static void destroy(np_obj *obj) {
    lookup *l = of_future(np_container(obj, neap_future, obj));
    let_go(l);
    np_future_fini(&l->f);
    np_obj_free(obj, sizeof *l);
}

static int32_t cancel(neap_future *f, const char *msg) {
    let_go(of_future(f));
    np_future_settle_cancelled(f, msg);
    np_future_deactivate(f);
    return 1;
}

static void end(neap_future *f) {
    let_go(of_future(f));
    np_future_settle_error(f, NEAP_ECLOSED, NULL);
    np_future_deactivate(f);
}

static const char *what(const neap_future *f) {
    (void)f;
    return "the lookup";
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    const np_query *q = np_container(f, lookup, f)->query;
    if (q != NULL)
        snprintf(buf, cap, " of %s", q->host);
}

static const np_future_type lookup_type = {.base = {.name = "lookup", .destroy = destroy},
                                           .cancel = cancel,
                                           .end = end,
                                           .what = what,
                                           .detail = detail};

static neap_future *new_lookup(neap_loop *loop) {
    return np_future_new(loop, &lookup_type, sizeof(lookup));
}

/* Hands the query over; it goes if that fails. */
static int32_t submit(neap_loop *loop, np_query *q, neap_future **ret_future) {
    void *impl;
    int32_t rc = open_engine(loop, &impl);
    neap_future *f = rc < 0 ? NULL : new_lookup(loop);
    if (rc == 0 && f == NULL)
        rc = NEAP_ENOMEM;
    if (rc == 0) {
        q->f = f;
        of_future(f)->query = q;
        loop->jobs++;
        np_list_append(&loop->resolver->queries, &q->all);
        rc = loop->resolver->engine->submit(impl, q);
    }
    if (rc < 0) {
        if (f != NULL)
            np_future_unref(f);
        free_query(q);
        return rc;
    }
    f->flags |= NP_F_ACTIVE;
    np_future_ref(f);
    np_future_give(f, ret_future);
    return NEAP_PENDING;
}

/* ---- Asking */

static neap_addrs *one_addr(np_alloc *alloc, const neap_addr *addr, const char *name) {
    neap_addrs *a = np_addrs_new(alloc, 1, name, NULL);
    if (a != NULL)
        a->at[0] = *addr;
    return a;
}

static neap_addrs *loopback(np_alloc *alloc, int32_t family, const char *name) {
    uint32_t n = family == NEAP_AF_UNSPEC ? 2 : 1, at = 0;
    neap_addrs *a = np_addrs_new(alloc, n, name, NULL);
    if (a != NULL && family != NEAP_AF_INET)
        (void)neap_addr_parse("[::1]:0", &a->at[at++]);
    if (a != NULL && family != NEAP_AF_INET6)
        (void)neap_addr_parse("127.0.0.1:0", &a->at[at]);
    return a;
}

/* What needs no lookup: 0 with a reference, 1 if it needs one, or a code. */
static int32_t find_known(neap_loop *loop, const char *host, int32_t family, uint32_t flags,
                          neap_addrs **ret_addrs) {
    neap_addr addr;
    bool canonical = (flags & NEAP_CANONNAME) != 0;
    if (np_host_literal(host, &addr)) {
        if (family != NEAP_AF_UNSPEC && (uint32_t)family != addr.family)
            return NEAP_ENAME_NO_ADDRESS;
        *ret_addrs = one_addr(loop->alloc, &addr, canonical ? host : NULL);
        return *ret_addrs != NULL ? 0 : NEAP_ENOMEM;
    }
    int32_t rc = np_host_check(host);
    if (rc < 0)
        return rc;
    if (np_host_is_localhost(host)) {
        *ret_addrs = loopback(loop->alloc, family, canonical ? host : NULL);
        return *ret_addrs != NULL ? 0 : NEAP_ENOMEM;
    }
    np_names *names = &loop->resolver->names;
    rc = np_names_find(names, host, (uint32_t)family, canonical, loop->now, ret_addrs);
    if (rc == 0)
        neap_addrs_ref(*ret_addrs);
    return rc;
}

/* An answer that is there: as it is, or as a future. */
static int32_t answer_now(neap_loop *loop, neap_addrs *known, uint16_t port, uint32_t flags,
                          neap_addrs **ret_addrs, neap_future **ret_future) {
    bool wants_future = (flags & NEAP_WANT_FUTURE) != 0;
    neap_addrs *addrs = np_addrs_at_port(known, port);
    neap_future *f = addrs != NULL && wants_future ? new_lookup(loop) : NULL;
    if (addrs == NULL || (wants_future && f == NULL)) {
        neap_addrs_unref(addrs);
        return NEAP_ENOMEM;
    }
    if (!wants_future) {
        *ret_addrs = addrs;
        return 0;
    }
    np_addrs_give(addrs, f);
    np_future_settle(f, NEAP_STATE_RESULT);
    np_future_give(f, ret_future);
    return NEAP_PENDING;
}

static int32_t ask(neap_loop *loop, const char *host, const char *service, uint16_t port,
                   int32_t family, uint32_t flags, neap_addrs *known, neap_future **ret_future) {
    np_query *q = make_query(loop, host, service);
    if (q == NULL)
        return NEAP_ENOMEM;
    q->port = port;
    q->family = (uint32_t)family;
    q->canonical = (flags & NEAP_CANONNAME) != 0;
    q->known = known != NULL ? neap_addrs_ref(known) : NULL;
    return submit(loop, q, ret_future);
}

static bool is_ip_family(int32_t family) {
    return family == NEAP_AF_UNSPEC || family == NEAP_AF_INET || family == NEAP_AF_INET6;
}

int32_t neap_getaddrinfo(neap_loop *loop, const char *host, const char *service, int32_t family,
                         uint32_t flags, neap_addrs **ret_addrs, neap_future **ret_future) {
    const uint32_t all = NEAP_NOWAIT | NEAP_WANT_FUTURE | NEAP_CANONNAME;
    bool later = (flags & NEAP_NOWAIT) == 0, now = (flags & NEAP_WANT_FUTURE) == 0;
    bool usable = host != NULL && is_ip_family(family) && (flags & ~all) == 0 &&
                  (ret_addrs != NULL || !now) && (ret_future != NULL || (!later && now));
    int32_t rc = usable ? enter(loop) : NEAP_EINVAL;
    uint16_t port;
    neap_addrs *known = NULL;
    int32_t named = rc < 0 ? rc : np_service_port(service, &port);
    rc = named < 0 ? named : find_known(loop, host, family, flags, &known);
    if (rc < 0)
        return rc;
    if (rc == 0 && named == 0)
        rc = answer_now(loop, known, port, flags, ret_addrs, ret_future);
    else if (!later)
        rc = NEAP_EAGAIN;
    else
        rc = ask(loop, host, named ? service : "", port, family, flags, known, ret_future);
    neap_addrs_unref(known);
    return rc;
}

int32_t neap_getnameinfo(neap_loop *loop, const neap_addr *addr, neap_future **ret_future) {
    char text[128];
    int32_t rc = addr == NULL || ret_future == NULL ? NEAP_EINVAL : enter(loop);
    if (rc < 0)
        return rc;
    if (addr->family != NEAP_AF_INET && addr->family != NEAP_AF_INET6)
        return NEAP_EVALUE;
    (void)neap_addr_format(addr, text, sizeof text);
    np_query *q = make_query(loop, text, "");
    if (q == NULL)
        return NEAP_ENOMEM;
    q->reverse = true;
    q->addr = *addr;
    return submit(loop, q, ret_future);
}

/* ---- The end */

static void close_engines(np_resolver *r, bool forked) {
    for (size_t i = 0; i < ENGINES; i++)
        if (r->impl[i] != NULL)
            engines[i]->close(r->impl[i], forked);
}

/* Queries outlive the resolver until their answer is home.  In a child after fork, nobody brings those that were with a
   thread. */
static void leave_queries(np_resolver *r, bool forked) {
    while (!np_list_empty(&r->queries)) {
        np_query *q = np_container(np_list_pop(&r->queries), np_query, all);
        if (q->f != NULL)
            np_future_type_of(q->f)->end(q->f);
        if (forked && !atomic_load_explicit(&q->answered, memory_order_acquire))
            free_query(q);
    }
}

void np_resolver_close(neap_loop *loop) {
    np_resolver *r = loop->resolver;
    if (r == NULL)
        return;
    loop->resolver = NULL;
    close_engines(r, loop->io.abandoned);
    leave_queries(r, loop->io.abandoned);
    np_names_clear(&r->names);
    np_settings_unref(r->settings);
    np_alloc_put(loop->alloc, r, sizeof *r);
}
