/* What the hosts drive: timers, a TCP exchange and posts of another thread, all at once, through
   neap.h alone. */
#ifndef NEAP_TEST_SCENE_H
#define NEAP_TEST_SCENE_H

#include "support.h"

#include <pthread.h>

enum {
    SCENE_TIMERS = 20,
    SCENE_ROUNDS = 100,
    SCENE_POSTS = 50
};

typedef struct scene {
    neap_loop *loop;
    void (*finished)(void *host); /* called once, from the last callback; may be NULL */
    void *host;

    int timers;    /* fired so far */
    int last_when; /* of the last one: they fire in order */
    int ticks;     /* of the repeating timer */
    neap_handle *repeating;

    neap_sock *listener;
    neap_sock *client;
    neap_sock *server;
    char buf[2][16]; /* the client's, the server's */
    int rounds;      /* of the exchange, finished */

    int posts; /* arrived */
    pthread_t thread;

    int done;
} scene;

/* Begins everything; nothing has run when it returns. */
void scene_begin(scene *s, neap_loop *loop, void (*finished)(void *host), void *host);
/* Asserts that all of it happened, and ends what is open. */
void scene_end(scene *s);

/* The setup of a host's test: a loop on a backend that has a descriptor. */
int scene_setup(void **state);

#define SCENE_TEST(f) cmocka_unit_test_setup_teardown(f, scene_setup, nt_teardown)

/* A loop that waits and has nothing to do: a receive and an accept that nobody serves, a timer in
   an hour. */
typedef struct idle_scene {
    neap_sock *a;
    neap_sock *b;
    neap_sock *listener;
    neap_future *recv;
    neap_future *accept;
    neap_handle *timer;
    char buf[16];
} idle_scene;

void idle_begin(idle_scene *s, neap_loop *loop);
void idle_end(idle_scene *s);

#endif
