/* names.c: answers that are kept for as long as the name servers allow, and that there is none, for a time that is set: found by
   the hash of the host, forgotten when their time is over or when they were not used for longest. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "sys/resolver.h"

struct np_name {
    np_list recent;
    np_list bucket;
    neap_addrs *addrs; /* a reference; with port 0; NULL if there are none */
    int32_t code;      /* why, or 0 */
    int64_t until;     /* of the loop's time */
    uint32_t family;
    bool canonical;
    char host[NP_HOST_MAX];
};

void np_names_init(np_names *names, np_alloc *alloc) {
    names->alloc = alloc;
    np_list_init(&names->recent);
    for (uint32_t i = 0; i < NP_NAMES_BUCKETS; i++)
        np_list_init(&names->buckets[i]);
    names->count = 0;
    names->max = 0;
    names->negative_ns = 0;
}

/* FNV-1a, of letters in one case. */
static np_list *bucket_of(np_names *names, const char *host) {
    uint32_t hash = 2166136261u;
    for (; *host != '\0'; host++)
        hash = (hash ^ (uint32_t)tolower((unsigned char)*host)) * 16777619u;
    return &names->buckets[(hash ^ hash >> 16) % NP_NAMES_BUCKETS];
}

static void forget(np_names *names, np_name *n) {
    np_list_unlink(&n->recent);
    np_list_unlink(&n->bucket);
    names->count--;
    neap_addrs_unref(n->addrs);
    np_alloc_put(names->alloc, n, sizeof *n);
}

void np_names_clear(np_names *names) {
    while (!np_list_empty(&names->recent))
        forget(names, np_container(names->recent.next, np_name, recent));
}

static np_name *find(np_names *names, const char *host, uint32_t family, bool canonical) {
    np_list *bucket = bucket_of(names, host);
    for (np_list *at = bucket->next; at != bucket; at = at->next) {
        np_name *n = np_container(at, np_name, bucket);
        if (n->family == family && n->canonical == canonical && strcasecmp(n->host, host) == 0)
            return n;
    }
    return NULL;
}

int32_t np_names_find(np_names *names, const char *host, uint32_t family, bool canonical,
                      int64_t now, neap_addrs **ret_addrs) {
    np_name *n = find(names, host, family, canonical);
    if (n == NULL)
        return 1;
    if (n->until <= now) {
        forget(names, n);
        return 1;
    }
    np_list_unlink(&n->recent);
    np_list_append(names->recent.next, &n->recent); /* to the front */
    *ret_addrs = n->addrs;
    return n->code;
}

/* For how long the answer holds, in ns; 0: it is not to be kept. */
static int64_t time_of(const np_names *names, const np_query *q) {
    if (q->reverse || q->known != NULL)
        return 0;
    if (q->code == NEAP_ENAME_NOT_FOUND || q->code == NEAP_ENAME_NO_ADDRESS)
        return names->negative_ns;
    return q->code == 0 ? (int64_t)q->ttl * NP_NS_PER_S : 0;
}

void np_names_keep(np_names *names, const np_query *q, int64_t now) {
    int64_t time = time_of(names, q);
    if (names->max == 0 || time == 0)
        return;
    np_name *old = find(names, q->host, q->family, q->canonical);
    if (old != NULL)
        forget(names, old);
    np_name *n = np_alloc_get(names->alloc, sizeof *n);
    neap_addrs *addrs = n != NULL && q->code == 0 ? np_addrs_at_port(q->addrs, 0) : NULL;
    if (n == NULL || (q->code == 0 && addrs == NULL)) {
        np_alloc_put(names->alloc, n, sizeof *n);
        return;
    }
    n->addrs = addrs;
    n->code = q->code;
    n->until = np_time_add(now, time);
    n->family = q->family;
    n->canonical = q->canonical;
    memcpy(n->host, q->host, sizeof n->host);
    np_list_init(&n->recent);
    np_list_init(&n->bucket);
    np_list_append(names->recent.next, &n->recent);
    np_list_append(bucket_of(names, n->host), &n->bucket);
    if (++names->count > names->max)
        forget(names, np_container(names->recent.prev, np_name, recent));
}
