/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Growth of the index by epoch: two readers with views, the server, what the
 * keeper holds, and the death of the server between any two steps. A reader that
 * begins to look after a seal was answered finds the block, whatever grows or
 * dies meanwhile. Checked by tools/check-model.
 *
 * Entries are hints: that they are checked against the descriptor is in
 * frame.pml. Here nothing is evicted, so a miss is a loss.
 */
#ifndef GROWS
#define GROWS 1
#endif
#ifndef SERVER_CRASHES
#define SERVER_CRASHES 1
#endif
#ifndef LOOKS
#define LOOKS 1
#endif
#define NK 2	    /* blocks */
#define NI (GROWS + SERVER_CRASHES + 2) /* segments, by epoch; 0: none */

/* Shared memory. */
byte epoch = 1;
bool sealed[NK];
byte entry[NI]; /* bits: the blocks that a segment leads to */
bool held[NI];
bool asked[NK], acked[NK]; /* the seal of a block; its answer */

bool kill_server, keeper_gives;
byte server_crashes = SERVER_CRASHES, grows = GROWS;

/* Questions for the index, and their answers: the epoch of what was sent. */
bool want[2];
byte sent[2];

#define LEADS(e, k) (entry[e] & (1 << (k)))

inline look()
{
	hit = LEADS(view, k) && sealed[k]
}

proctype reader(byte c)
{
	byte k, view = 1, looks = LOOKS;
	bool hit, must;

end:
	do
	:: looks > 0 ->
		looks--;
		if
		:: k = 0
		:: k = 1
		fi;
		must = acked[k];
		look();
#ifndef MUT_MISS_BELIEVED
		/* a miss is believed when nothing has changed since */
		do
		:: hit || epoch == view -> break
		:: !hit && epoch != view ->
			want[c] = true;
			d_step { sent[c] != 0; view = sent[c]; sent[c] = 0 };
			look()
		od;
#endif
		assert(hit || !must);
		d_step { hit = false; must = false; k = 0 }
	od
}

inline fill(e)
{
	i = 0;
	do
	:: i < NK && sealed[i] -> entry[e] = entry[e] | (1 << i); i++
	:: i < NK && !sealed[i] -> i++
	:: i == NK -> break
	od;
	i = 0
}

/* pool_index_create(): filled, held, announced; then the old one goes. That it
 * is filled first matters to nobody here: readers get it from the server, by a
 * message, and a new server completes what it finds. */
inline grow()
{
	d_step { entry[epoch + 1] = 0 };
	fill(epoch + 1);
#ifdef MUT_HELD_LATE
	epoch++;
	held[epoch] = true;
#else
	held[epoch + 1] = true;
	epoch++;
#endif
	held[epoch - 1] = false
}

inline seal(k)
{
	sealed[k] = true;
	entry[epoch] = entry[epoch] | (1 << k);
	d_step { acked[k] = true; asked[k] = false }
}

/* index_attach(), frames_attach(): what is missing is entered, before anything
 * is answered. */
inline recover()
{
	assert(held[epoch]);
	i = 0;
	do
	:: i < NI && i != epoch && held[i] -> held[i] = false; i++
	:: i < NI && (i == epoch || !held[i]) -> i++
	:: i == NI -> break
	od;
#ifndef MUT_NOT_COMPLETED
	fill(epoch)
#else
	i = 0
#endif
}

#define AGAIN(k) (asked[k] && sealed[k])

proctype server()
{
	byte i;

again:
	{
		recover();
endserve:
		do
		:: AGAIN(0) -> d_step { acked[0] = true; asked[0] = false }
		:: AGAIN(1) -> d_step { acked[1] = true; asked[1] = false }
		:: asked[0] && !sealed[0] -> seal(0)
		:: asked[1] && !sealed[1] -> seal(1)
		:: d_step { grows > 0 -> grows-- }; grow()
		:: d_step { want[0] -> sent[0] = epoch; want[0] = false }
		:: d_step { want[1] -> sent[1] = epoch; want[1] = false }
		od
	} unless {
		kill_server
	};
	d_step { kill_server = false; i = 0 };
	goto again
}

proctype env()
{
end:
	do
	:: d_step { server_crashes > 0 && !kill_server ->
			server_crashes--; kill_server = true }
	od
}

init
{
	atomic {
		held[1] = true;
		asked[0] = true;
		asked[1] = true;
		run server();
		run reader(0);
		run reader(1);
		run env()
	}
}
