/* syslookup.c: lookups by the system's own resolver, getaddrinfo and getnameinfo: each blocks a thread of the loop's pool for
   names.  The job is the query itself; its answer is sent when the job is over, also if it has never begun. */
#include <netdb.h>
#include <string.h>

#include "base/fd.h"
#include "sys/pool.h"
#include "sys/query.h"

static const np_meaning meanings[] = {
    {EAI_NONAME, NEAP_ENAME_NOT_FOUND, "EAI_NONAME"},
    {EAI_NODATA, NEAP_ENAME_NO_ADDRESS, "EAI_NODATA"},
    {EAI_ADDRFAMILY, NEAP_ENAME_NO_ADDRESS, "EAI_ADDRFAMILY"},
    {EAI_AGAIN, NEAP_ENAME_TEMPORARY, "EAI_AGAIN"},
    {EAI_SYSTEM, NEAP_ENAME_TEMPORARY, "EAI_SYSTEM"},
    {EAI_FAIL, NEAP_ENAME_FAILED, "EAI_FAIL"},
    {EAI_MEMORY, NEAP_ENOMEM, NULL},
};

static void fail(np_query *q, int status) {
    np_query_fail(q, status, meanings, sizeof meanings / sizeof *meanings);
}

static void take_addresses(np_query *q, const struct addrinfo *list) {
    uint32_t count = 0;
    for (const struct addrinfo *at = list; at != NULL; at = at->ai_next)
        count++;
    const char *name = q->canonical ? list->ai_canonname : NULL;
    q->addrs = np_addrs_new(q->post.loop->alloc, count, name, NULL);
    q->code = q->addrs != NULL ? 0 : NEAP_ENOMEM;
    for (uint32_t i = 0; q->addrs != NULL && i < count; i++, list = list->ai_next) {
        np_addr_from_raw(&q->addrs->at[i], (const void *)list->ai_addr, list->ai_addrlen);
        np_addr_set_port(&q->addrs->at[i], q->port);
    }
}

static void ask_addresses(np_query *q) {
    const struct addrinfo hints = {.ai_family = (int)q->family,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = q->canonical ? AI_CANONNAME : 0};
    struct addrinfo *list = NULL;
    int status = getaddrinfo(q->host, NULL, &hints, &list);
    if (status != 0) {
        fail(q, status);
        return;
    }
    take_addresses(q, list);
    freeaddrinfo(list);
}

static void ask_name(np_query *q) {
    char name[NI_MAXHOST];
    socklen_t len;
    const struct sockaddr *raw = np_addr_raw(&q->addr, &len);
    int status = getnameinfo(raw, len, name, sizeof name, NULL, 0, NI_NAMEREQD);
    if (status != 0)
        fail(q, status);
    else
        np_query_take_name(q, name);
}

static int64_t run(neap_job *job, void *user) {
    np_query *q = user;
    (void)job;
    if (!np_query_begin(q))
        return 0;
    if (q->reverse)
        ask_name(q);
    else
        ask_addresses(q);
    return 0;
}

static void over(void *user) {
    np_query_answer(user);
}

static int32_t open_system(neap_loop *loop, void **ret_impl) {
    *ret_impl = loop;
    return 0;
}

static int32_t submit(void *impl, np_query *q) {
    const neap_job_options o = {.size = sizeof o, .name = q->host};
    neap_pool *pool;
    int32_t rc = np_loop_pool(impl, NEAP_POOL_NAMES, &pool);
    if (rc < 0)
        return rc;
    q->code = NEAP_ECLOSED; /* unless it begins */
    rc = neap_pool_submit(pool, NULL, run, q, over, &o, NULL);
    if (rc < 0)
        q->code = rc; /* that answer is on its way to this thread */
    return 0;
}

static void close_system(void *impl, bool forked) {
    (void)impl;
    (void)forked; /* the pool ends by itself */
}

const np_engine np_engine_system = {
    .name = "system", .open = open_system, .submit = submit, .close = close_system};
