/* ares.h: the resolver of a loop that has c-ares, and its channels.  ares.c asks and answers, on a thread; areschannel.c makes
   and ends what c-ares has for certain settings. */
#ifndef NP_ARES_H
#define NP_ARES_H

#include <ares.h>
#include <pthread.h>
#include <sys/stat.h>

#include "sys/query.h"

typedef struct np_ares {
    np_alloc *alloc; /* a reference */
    pthread_t thread;
    int wake_fd;
    int epoll_fd;
    pthread_mutex_t lock;
    np_list queue;    /* under lock */
    bool stopping;    /* under lock */
    np_list channels; /* the thread's; the first is for new queries */
    uint32_t under_way;
} np_ares;

typedef struct np_ares_channel {
    np_list link;
    np_ares *r;
    ares_channel ares;
    ares_channel files;    /* asks the hosts file alone */
    np_settings *settings; /* a reference */
    struct stat conf;      /* of the file that it has read; zero if there was none */
    uint32_t under_way;
} np_ares_channel;

/* The channel for a query that begins now.  NULL: *ret_status is of c-ares. */
np_ares_channel *np_ares_channel_for(np_ares *r, np_settings *s, int *ret_status);

/* Ends what is under way there, too. */
void np_ares_channel_end(np_ares_channel *c);

/* Ends those that are replaced and have answered all. */
void np_ares_end_idle(np_ares *r);

#endif
