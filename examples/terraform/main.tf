# The policy of the devices' certificates, and what an operator may do. Not applied by this project's tests.
data "aws_region" "here" {}
data "aws_caller_identity" "me" {}

variable "thing" {
  type        = string
  description = "The thing's name; one policy for each."
}

locals {
  arn   = "arn:aws:iot:${data.aws_region.here.name}:${data.aws_caller_identity.me.account_id}"
  topic = "$aws/things/${var.thing}/tunnels/notify"
}

resource "aws_iot_policy" "culvertd" {
  name = "culvert-${var.thing}"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "iot:Connect", Resource = "${local.arn}:client/${var.thing}-tunnel" },
      { Effect = "Allow", Action = "iot:Subscribe", Resource = "${local.arn}:topicfilter/${local.topic}" },
      { Effect = "Allow", Action = "iot:Receive", Resource = "${local.arn}:topic/${local.topic}" },
      { Effect = "Allow", Action = "iot:Receive", Resource = "${local.arn}:topic/culvert/${var.thing}/ping" },
      { Effect = "Allow", Action = ["iot:Publish", "iot:RetainPublish"], Resource = "${local.arn}:topic/culvert/${var.thing}/pong" },
    ]
  })
}

resource "aws_iam_policy" "operator" {
  name = "culvert-operator"
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect = "Allow"
      Action = [
        "iot:ListTunnels", "iot:DescribeTunnel", "iot:OpenTunnel", "iot:RotateTunnelAccessToken", "iot:CloseTunnel",
        "iot:DescribeThing", "iot:DescribeEndpoint", "iot:ListThings", "iot:GetConnection", "iot:SendDirectMessage",
        "iot:GetRetainedMessage",
      ]
      Resource = "*"
    }]
  })
}
