// peer_gloo.cc - Gloo's allreduce for comparison; one process per rank, RANK and WORLD_SIZE
// from the environment.  -a: ring or bcube (gloo::allreduce), ring-chunked or halving-doubling
// (the older classes).  The ranks meet in a folder (-s), the device is bound to one interface (-i).
// What can be made once, buffers and algorithm objects, is made before the timed loop.
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/allreduce_ring_chunked.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>

#include "tests/bench/peer_common.h"

namespace {

constexpr auto kTimeout = std::chrono::seconds(60);

using SumFunction = void (*)(void *, const void *, const void *, size_t);

struct Gloo {
	std::shared_ptr<gloo::rendezvous::Context> context;
	std::string algorithm;
	float *in, *out;
	size_t count;
	std::unique_ptr<gloo::AllreduceOptions> options[2]; // out of place, in place
	std::unique_ptr<gloo::Algorithm> object;            // of the older kind, on out
};

std::unique_ptr<gloo::AllreduceOptions> make_options(const Gloo &g, bool in_place)
{
	std::unique_ptr<gloo::AllreduceOptions> o(new gloo::AllreduceOptions(g.context));

	o->setAlgorithm(g.algorithm == "ring" ? gloo::AllreduceOptions::Algorithm::RING
					      : gloo::AllreduceOptions::Algorithm::BCUBE);
	if (!in_place)
		o->setInput(g.in, g.count);
	o->setOutput(g.out, g.count);
	o->setReduceFunction(static_cast<SumFunction>(&gloo::sum<float>));
	o->setTimeout(kTimeout);
	return o;
}

int prepare(void *self, float *in, float *out, size_t count)
{
	Gloo &g = *static_cast<Gloo *>(self);
	std::vector<float *> pointers{out};
	int elements = static_cast<int>(count);

	g.in = in;
	g.out = out;
	g.count = count;
	if (g.algorithm == "ring" || g.algorithm == "bcube") {
		g.options[0] = make_options(g, false);
		g.options[1] = make_options(g, true);
	} else if (g.algorithm == "ring-chunked") {
		g.object.reset(
			new gloo::AllreduceRingChunked<float>(g.context, pointers, elements));
	} else if (g.algorithm == "halving-doubling") {
		g.object.reset(
			new gloo::AllreduceHalvingDoubling<float>(g.context, pointers, elements));
	} else {
		throw std::runtime_error("-a: there is no algorithm " + g.algorithm);
	}
	return 0;
}

int sum(void *self, bool in_place)
{
	Gloo &g = *static_cast<Gloo *>(self);

	if (g.object) {
		if (!in_place)
			memcpy(g.out, g.in, g.count * sizeof(float));
		g.object->run();
	} else {
		gloo::allreduce(*g.options[in_place]);
	}
	return 0;
}

int combine(void *self, double *values, size_t count)
{
	Gloo &g = *static_cast<Gloo *>(self);
	gloo::AllreduceOptions o(g.context);

	o.setOutput(values, count);
	o.setReduceFunction(static_cast<SumFunction>(&gloo::sum<double>));
	o.setTimeout(kTimeout);
	o.setTag(1);
	gloo::allreduce(o);
	return 0;
}

int number(const char *name)
{
	const char *text = getenv(name);
	char *end;
	long value = text ? strtol(text, &end, 10) : -1;

	if (!text || end == text || *end || value < 0 || value > 65536)
		throw std::runtime_error(std::string(name) + " is not set to a number");
	return static_cast<int>(value);
}

int run(const peer_options &o)
{
	Gloo g;
	gloo::transport::tcp::attr attr;
	peer_system s = {};
	int rank = number("RANK"), ranks = number("WORLD_SIZE");

	if (!o.store)
		throw std::runtime_error("-s STORE is missing");
	attr.iface = o.interface ? o.interface : "eth0";
	auto device = gloo::transport::tcp::CreateDevice(attr);
	gloo::rendezvous::FileStore store(o.store);
	g.context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
	g.context->setTimeout(kTimeout);
	g.context->connectFullMesh(store, device);
	g.algorithm = o.algorithm ? o.algorithm : "ring";

	s.name = "gloo";
	s.rank = static_cast<uint32_t>(rank);
	s.ranks = static_cast<uint32_t>(ranks);
	s.self = &g;
	s.prepare = prepare;
	s.sum = sum;
	s.combine = combine;
	int code = peer_run(&s, &o);
	double nothing = 0;
	combine(&g, &nothing, 1); // nobody closes while another still receives
	return code;
}

} // namespace

int main(int argc, char **argv)
{
	peer_options o;

	if (!peer_options_parse(&o, argc, argv))
		return 2;
	try {
		return run(o);
	} catch (const std::exception &e) {
		fprintf(stderr, "gloo: %s\n", e.what());
		return 1;
	}
}
