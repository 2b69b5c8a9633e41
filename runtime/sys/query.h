/* query.h: one lookup on its way from the loop to a thread and back.

   The loop's thread makes it, and links it into the resolver's list.  From the engine's submit until np_query_answer its
   middle part belongs to the engine, on whatever thread that works; the answer travels home by the mail inside.  `f` is the
   loop's: the future that is to be settled, or NULL once nobody waits any more.  So a cancel is done on the loop's side alone,
   and an engine never hears of it.  The query holds the loop's memory. */
#ifndef NP_QUERY_H
#define NP_QUERY_H

#include "sys/addrs.h"

enum {
    NP_SERVICE_MAX = 64,
    NP_HOST_MAX = 256
};

/* What lookups are made with.  Never changed: queries that were begun with it keep it. */
typedef struct np_settings {
    np_alloc *alloc; /* a reference */
    atomic_uint refs;
    size_t size;
    const char *servers; /* or NULL */
    const char *conf;
    int64_t timeout_ns; /* 0: the engine's own */
    uint32_t tries;     /* 0: the engine's own */
} np_settings;

void np_settings_unref(np_settings *s);

typedef struct np_query {
    np_obj post; /* only its mail, loop and type */
    np_list all; /* in the resolver's list; the loop's thread */
    neap_future *f;

    /* The question. */
    np_list link;          /* the engine's */
    np_settings *settings; /* a reference */
    void *engine;          /* where it is */
    neap_addrs
        *known; /* the addresses are known, only the service is asked for; a reference or NULL */
    neap_addr addr; /* whose name is asked for, if `reverse` */
    bool reverse;
    uint32_t family;
    bool canonical;
    char host[NP_HOST_MAX];
    char service[NP_SERVICE_MAX]; /* a name, or "" */
    uint16_t port;                /* without a service */

    /* The answer. */
    neap_addrs *addrs; /* a reference, or NULL */
    int32_t code;
    const char *cause; /* the engine's word for a failure; static */
    uint32_t ttl;      /* s; 0: not to be kept */
    int64_t since_ns;  /* when it was asked, by the system's clock */
    int64_t queued_ns; /* how long it had to wait for its turn, or 0 if it was not long */
    atomic_bool unwanted;
    atomic_bool answered;
} np_query;

/* The answer is in the query, which is the loop's again.  Any thread. */
void np_query_answer(np_query *q);

/* On a thread that may block, when its turn has come: finds the port of the service.  False if the answer is there with that:
   nobody wants it any more, there is no such service, or only the port was asked for. */
bool np_query_begin(np_query *q);

/* What a failure of a lookup library is to us. */
typedef struct np_meaning {
    int status;
    int32_t code;
    const char *cause;
} np_meaning;

/* The answer is a failure; one that is in no table is NEAP_ENAME_FAILED. */
void np_query_fail(np_query *q, int status, const np_meaning *table, size_t n);

/* On such a thread: the answer is the name of the address, with that of the service. */
void np_query_take_name(np_query *q, const char *name);

/* Who answers queries. */
typedef struct np_engine {
    const char *name;  /* NULL: it was not built in */
    bool configurable; /* has servers, resolv_conf, timeout and tries */
    /* A new one of the loop's; 0 or a code. */
    int32_t (*open)(neap_loop *loop, void **ret_impl);
    /* Takes the query, which is answered later, or fails and leaves it. */
    int32_t (*submit)(void *impl, np_query *q);
    /* Answers what is left, and goes.  `forked`: its threads are the parent's, it only frees. */
    void (*close)(void *impl, bool forked);
} np_engine;

extern const np_engine np_engine_ares;
extern const np_engine np_engine_system;

#endif
