// main.cc - carry.h in C++: every function, with the types that a C++ program gives it.
// test_client_cxx.c compiles it, links it with libcarry and runs it; no carryd is there.
#include "libclient/carry.h"

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>

static int bad;

static void expect(bool fine, const char *what)
{
	if (fine)
		return;
	std::fprintf(stderr, "%s: %s\n", what, carry_last_error(nullptr));
	bad = 1;
}

int main()
{
	carry *c = nullptr;
	carry_group *group = nullptr;
	carry_work *work = nullptr;
	float x[2] = {1, 2};

	carry_open_options open = {};
	open.size = sizeof(open);
	open.socket = "/nonexistent/carryd.sock";
	expect(carry_open(&c, open.socket) == -ENOENT, "carry_open");
	expect(std::strstr(carry_last_error(nullptr), open.socket), "carry_last_error");
	expect(carry_open_with(&c, &open) == -ENOENT, "carry_open_with");
	expect(c == nullptr, "the handle is set on success only");

	carry_group_options options = {};
	options.size = sizeof(options);
	expect(carry_group_create(&group, c, &options) == -EINVAL, "carry_group_create");
	carry_op_options op = {};
	op.size = sizeof(op);
	expect(carry_allreduce(group, x, x, 2, CARRY_F32, CARRY_SUM, &op, &work) == -EINVAL,
	       "carry_allreduce");
	carry_op_result result = {};
	result.size = sizeof(result);
	expect(carry_wait(work, 0, &result) == -EINVAL, "carry_wait");
	expect(carry_test(work) == -EINVAL, "carry_test");
	expect(carry_event_fd(c) == -EINVAL, "carry_event_fd");
	expect(carry_group_abort(group) == -EINVAL, "carry_group_abort");
	expect(carry_group_destroy(group) == 0, "carry_group_destroy");
	carry_arena info = {};
	info.size = sizeof(info);
	expect(carry_arena_info(c, &info) == -EINVAL, "carry_arena_info");
	expect(carry_alloc(c, 1) == nullptr, "carry_alloc");
	expect(carry_free(c, nullptr) == -EINVAL, "carry_free");
	carry_close(c);

	expect(carry_type_bytes(CARRY_BF16) == 2, "carry_type_bytes");
	expect(std::strcmp(carry_error_name(-EPROTO), "EPROTO") == 0, "carry_error_name");
	expect(carry_version()[0] >= '0' && carry_version()[0] <= '9', "carry_version");
	expect(carry_daemon_version(c)[0] == 0, "carry_daemon_version");
	std::uint32_t (*const facts[])(const carry_group *) = {carry_group_rank, carry_group_ranks,
							       carry_group_nodes, carry_group_node};
	for (auto fact : facts)
		expect(fact != nullptr, "facts of a group");
	return bad;
}
