/* Addresses: text to sockaddr and back. */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "support.h"

static void assert_round_trip(const char *text, const char *expected, uint32_t family) {
    neap_addr addr;
    char buf[256];
    assert_ok(neap_addr_parse(text, &addr));
    assert_int_equal(addr.family, family);
    assert_int_equal(neap_addr_format(&addr, buf, sizeof buf), strlen(expected));
    assert_string_equal(buf, expected);
}

static void an_ipv4_address_becomes_a_sockaddr(void **state) {
    (void)state;
    neap_addr addr;
    struct sockaddr_in in;
    assert_ok(neap_addr_parse("1.2.3.4:80", &addr));
    assert_int_equal(addr.family, NEAP_AF_INET);
    assert_int_equal(addr.len, sizeof in);
    memcpy(&in, addr.data, sizeof in);
    assert_int_equal(in.sin_family, AF_INET);
    assert_int_equal(ntohs(in.sin_port), 80);
    assert_int_equal(ntohl(in.sin_addr.s_addr), 0x01020304);
    assert_int_equal(neap_addr_port(&addr), 80);
}

static void an_ipv6_address_becomes_a_sockaddr(void **state) {
    (void)state;
    neap_addr addr;
    struct sockaddr_in6 in;
    assert_ok(neap_addr_parse("[::1]:65535", &addr));
    assert_int_equal(addr.family, NEAP_AF_INET6);
    assert_int_equal(addr.len, sizeof in);
    memcpy(&in, addr.data, sizeof in);
    assert_int_equal(in.sin6_family, AF_INET6);
    assert_memory_equal(&in.sin6_addr, &in6addr_loopback, sizeof in6addr_loopback);
    assert_int_equal(neap_addr_port(&addr), 65535);
}

static void addresses_come_back_as_their_text(void **state) {
    (void)state;
    assert_round_trip("1.2.3.4:80", "1.2.3.4:80", NEAP_AF_INET);
    assert_round_trip("0.0.0.0:0", "0.0.0.0:0", NEAP_AF_INET);
    assert_round_trip("255.255.255.255:65535", "255.255.255.255:65535", NEAP_AF_INET);
    assert_round_trip("[::]:1", "[::]:1", NEAP_AF_INET6);
    assert_round_trip("[2001:db8::7]:443", "[2001:db8::7]:443", NEAP_AF_INET6);
    assert_round_trip("/tmp/x.sock", "/tmp/x.sock", NEAP_AF_UNIX);
    assert_round_trip("./x.sock", "./x.sock", NEAP_AF_UNIX);
    assert_round_trip("@hidden", "@hidden", NEAP_AF_UNIX);
}

static void a_path_without_a_slash_needs_its_prefix(void **state) {
    (void)state;
    neap_addr addr;
    char buf[64];
    assert_ok(neap_addr_parse("unix:plain", &addr));
    assert_int_equal(addr.family, NEAP_AF_UNIX);
    struct sockaddr_un un;
    memset(&un, 0, sizeof un);
    memcpy(&un, addr.data, addr.len);
    assert_string_equal(un.sun_path, "plain");
    /* What is written is read again as the same address. */
    neap_addr again;
    assert_true(neap_addr_format(&addr, buf, sizeof buf) > 0);
    assert_ok(neap_addr_parse(buf, &again));
    assert_int_equal(again.len, addr.len);
    assert_memory_equal(again.data, addr.data, addr.len);
}

static void a_zone_is_kept(void **state) {
    (void)state;
    char name[IF_NAMESIZE];
    char text[64];
    assert_non_null(if_indextoname(1, name)); /* the loopback interface of each network namespace */
    snprintf(text, sizeof text, "[fe80::1%%%s]:9", name);
    neap_addr addr;
    struct sockaddr_in6 in;
    assert_ok(neap_addr_parse(text, &addr));
    memcpy(&in, addr.data, sizeof in);
    assert_int_equal(in.sin6_scope_id, 1);
    char buf[128];
    neap_addr again;
    assert_true(neap_addr_format(&addr, buf, sizeof buf) > 0);
    assert_ok(neap_addr_parse(buf, &again));
    assert_memory_equal(again.data, addr.data, addr.len);
}

static void a_name_is_refused_as_a_name(void **state) {
    (void)state;
    static const char *const names[] = {"localhost:80", "example.org:80", "a-b.c:1"};
    neap_addr addr = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        assert_code(neap_addr_parse(names[i], &addr), NEAP_ENAME);
    assert_int_equal(addr.len, 0);
}

static void nonsense_is_refused_and_nothing_is_written(void **state) {
    (void)state;
    static const char *const texts[] = {
        "",
        ":",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:65536",
        "1.2.3.4:-1",
        "1.2.3.4:+1",
        "1.2.3.4: 1",
        "1.2.3.4:8x",
        "1.2.3.4:999999999999",
        "[::1]",
        "[::1]:",
        "[::1:80",
        "[]:80",
        "[::g]:80",
        "[1.2.3.4]:80",
        "unix:",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        neap_addr addr;
        memset(&addr, 0x77, sizeof addr);
        int32_t code = neap_addr_parse(texts[i], &addr);
        if (code != NEAP_EVALUE && code != NEAP_ENAME)
            fail_msg("\"%s\" was answered by %d", texts[i], (int)code);
        assert_int_equal(addr.family, 0x77777777);
    }
}

static void a_path_that_is_too_long_is_refused_not_cut(void **state) {
    (void)state;
    struct sockaddr_un un;
    char path[sizeof un.sun_path + 8];
    neap_addr addr;
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[sizeof un.sun_path - 1] = '\0';
    assert_ok(neap_addr_parse(path, &addr));
    path[sizeof un.sun_path - 1] = 'a';
    path[sizeof path - 1] = '\0';
    assert_code(neap_addr_parse(path, &addr), NEAP_EVALUE);
    path[0] = '@';
    assert_code(neap_addr_parse(path, &addr), NEAP_EVALUE);
}

static void a_wrong_argument_is_refused(void **state) {
    (void)state;
    neap_addr addr;
    assert_code(neap_addr_parse(NULL, &addr), NEAP_EINVAL);
    assert_code(neap_addr_parse("1.2.3.4:1", NULL), NEAP_EINVAL);
}

static void format_cuts_but_tells_the_whole_length(void **state) {
    (void)state;
    neap_addr addr;
    char buf[6] = "xxxxx";
    assert_ok(neap_addr_parse("1.2.3.4:80", &addr));
    assert_int_equal(neap_addr_format(&addr, buf, sizeof buf), 10);
    assert_string_equal(buf, "1.2.3");
    assert_int_equal(neap_addr_format(&addr, buf, 1), 10);
    assert_string_equal(buf, "");
    assert_int_equal(neap_addr_format(&addr, NULL, 0), 10);
}

static void an_unnamed_unix_socket_has_an_empty_text(void **state) {
    (void)state;
    neap_addr addr = {0};
    char buf[16] = "x";
    sa_family_t family = AF_UNIX;
    addr.family = NEAP_AF_UNIX;
    addr.len = sizeof family;
    memcpy(addr.data, &family, sizeof family);
    assert_int_equal(neap_addr_format(&addr, buf, sizeof buf), 0);
    assert_string_equal(buf, "");
    assert_int_equal(neap_addr_port(&addr), 0);
}

/* Whatever the bytes are: an answer, nothing out of bounds. */
static void random_text_never_does_harm(void **state) {
    (void)state;
    static const char letters[] = "0123456789abcdef.:[]/%@unix- ";
    uint32_t seed = 12345;
    for (int i = 0; i < 100000; i++) {
        char text[40];
        char buf[200];
        neap_addr addr;
        seed = seed * 1664525u + 1013904223u;
        size_t n = (seed >> 16) % (sizeof text - 1);
        for (size_t k = 0; k < n; k++) {
            seed = seed * 1664525u + 1013904223u;
            text[k] = letters[(seed >> 16) % (sizeof letters - 1)];
        }
        text[n] = '\0';
        if (neap_addr_parse(text, &addr) == 0) {
            neap_addr again;
            assert_true(addr.len <= sizeof addr.data);
            assert_true(neap_addr_format(&addr, buf, sizeof buf) < (int32_t)sizeof buf);
            assert_ok(neap_addr_parse(buf, &again));
            assert_int_equal(again.len, addr.len);
            assert_memory_equal(again.data, addr.data, addr.len);
        }
    }
}

NT_MAIN(NT_TEST_BARE(an_ipv4_address_becomes_a_sockaddr),
        NT_TEST_BARE(an_ipv6_address_becomes_a_sockaddr),
        NT_TEST_BARE(addresses_come_back_as_their_text),
        NT_TEST_BARE(a_path_without_a_slash_needs_its_prefix), NT_TEST_BARE(a_zone_is_kept),
        NT_TEST_BARE(a_name_is_refused_as_a_name),
        NT_TEST_BARE(nonsense_is_refused_and_nothing_is_written),
        NT_TEST_BARE(a_path_that_is_too_long_is_refused_not_cut),
        NT_TEST_BARE(a_wrong_argument_is_refused),
        NT_TEST_BARE(format_cuts_but_tells_the_whole_length),
        NT_TEST_BARE(an_unnamed_unix_socket_has_an_empty_text),
        NT_TEST_BARE(random_text_never_does_harm))
