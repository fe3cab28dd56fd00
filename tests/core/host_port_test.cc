// What may be written where an address is wanted.
#include "core/host_port.h"

#include <gtest/gtest.h>

namespace tailrace {
namespace {

TEST(HostPort, NamesAndAddressesAreTaken) {
  for (const char* text : {"127.0.0.1:7100", "localhost:0", "[::1]:65535", "[fe80::1%eth0]:80",
                           "node-1.example_net:7100", "[::]:1"})
    EXPECT_TRUE(parse_host_port(text)) << text;
  EXPECT_EQ(parse_host_port("[::1]:7100")->host, "::1");
  EXPECT_EQ(parse_host_port("host:7100")->port, 7100);
  EXPECT_FALSE(parse_reachable("host:0"));
  EXPECT_TRUE(parse_reachable("host:1"));
}

// Where a node listens at all its addresses, others have to be told one of them.
TEST(HostPort, AllAddressesOfAMachineAreNoneThatOthersCanReach) {
  for (const char* text : {"0.0.0.0:7100", "0:7100", "0.0:7100", "0x0:7100", "[::]:7100",
                           "[0:0::0]:7100", "[::%eth0]:7100", "[::ffff:0.0.0.0]:7100"}) {
    EXPECT_TRUE(parse_host_port(text)) << text;
    const auto parsed = parse_reachable(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_NE(parsed.error().message.find("all addresses"), std::string::npos);
  }
  for (const char* text :
       {"0.0.0.1:1", "10.0.0.0:1", "[::1]:1", "[::ffff:0.0.0.1]:1", "[::ffff:0:0:1]:1", "0host:1"})
    EXPECT_TRUE(parse_reachable(text)) << text;
}

// What no host can be called gets into no log, file or line of output.
TEST(HostPort, WhatNoHostCanBeCalledIsRefusedAndShownWithoutHarm) {
  for (const std::string& text :
       {std::string(), std::string("host"), std::string(":7100"), std::string("host:"),
        std::string("host:65536"), std::string("host:-1"), std::string("host:+1"),
        std::string("host: 1"), std::string("ho st:1"), std::string("host\n:1"),
        std::string("host:1\n"), std::string("h\0st:1", 6), std::string("\x1b[31m:1"),
        std::string("::1:7100"), std::string("[]:1"), std::string("host/../x:1"),
        std::string(300, 'h') + ":1", std::string("h\xc3\xb6st:1")}) {
    const auto parsed = parse_host_port(text);
    ASSERT_FALSE(parsed) << text;
    EXPECT_EQ(parsed.error().code, ErrorCode::kInvalidArgument);
    for (const char c : parsed.error().message)
      EXPECT_TRUE(c >= ' ' && c <= '~') << "a character that a terminal or a log might obey";
    EXPECT_LT(parsed.error().message.size(), 250u);
  }
}

// An address that others are told is short and has one spelling.
TEST(HostPort, APortIsWrittenWithoutZerosInFront) {
  EXPECT_TRUE(parse_host_port("host:07100")) << "it may stand in a log or a file";
  EXPECT_FALSE(parse_reachable("host:07100"));
  EXPECT_NE(parse_reachable("host:07100").error().message.find("write it as 7100"),
            std::string::npos);
  EXPECT_FALSE(parse_host_port("host:007100"));
  EXPECT_FALSE(parse_host_port("host:" + std::string(65'000, '0') + "7100"));
}

}  // namespace
}  // namespace tailrace
