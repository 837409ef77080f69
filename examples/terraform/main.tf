# The service of the demo as Terraform: three tasks of my-app behind an
# application load balancer, found as my-service.my-apps.local. Nothing here is
# Berth's own but the endpoint that the provider is given; see README.md.

terraform {
  required_version = ">= 1.11" # write-only arguments
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.86"
    }
  }
}

variable "image" {
  description = "Image of the app; the tag 2 is the next version, broken one that ends at once."
  type        = string
  default     = "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-app:latest"
}

variable "tasks" {
  description = "How many tasks the service keeps running."
  type        = number
  default     = 3
}

data "aws_region" "here" {}

data "aws_availability_zones" "here" {
  state = "available"
}

# --- network -----------------------------------------------------------------

resource "aws_vpc" "apps" {
  cidr_block           = "10.20.0.0/16"
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = { Name = "my-apps" }
}

resource "aws_internet_gateway" "apps" {
  vpc_id = aws_vpc.apps.id
  tags   = { Name = "my-apps" }
}

resource "aws_subnet" "public" {
  count                   = 2
  vpc_id                  = aws_vpc.apps.id
  cidr_block              = cidrsubnet(aws_vpc.apps.cidr_block, 8, count.index)
  availability_zone       = data.aws_availability_zones.here.names[count.index]
  map_public_ip_on_launch = true
  tags                    = { Name = "my-apps-public-${count.index}" }
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.apps.id
  route {
    cidr_block = "0.0.0.0/0"
    gateway_id = aws_internet_gateway.apps.id
  }
  tags = { Name = "my-apps-public" }
}

resource "aws_route_table_association" "public" {
  count          = 2
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_security_group" "balancer" {
  name        = "my-alb"
  description = "Load balancer of my-service"
  vpc_id      = aws_vpc.apps.id
  ingress {
    description = "everybody"
    from_port   = 80
    to_port     = 80
    protocol    = "tcp"
    cidr_blocks = ["0.0.0.0/0"]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

resource "aws_security_group" "tasks" {
  name        = "my-tasks"
  description = "Tasks of my-service"
  vpc_id      = aws_vpc.apps.id
  ingress {
    description     = "the load balancer"
    from_port       = 3000
    to_port         = 3000
    protocol        = "tcp"
    security_groups = [aws_security_group.balancer.id]
  }
  egress {
    from_port   = 0
    to_port     = 0
    protocol    = "-1"
    cidr_blocks = ["0.0.0.0/0"]
  }
}

# --- load balancer -------------------------------------------------------------

resource "aws_lb" "apps" {
  name               = "my-service"
  load_balancer_type = "application"
  subnets            = aws_subnet.public[*].id
  security_groups    = [aws_security_group.balancer.id]
}

resource "aws_lb_target_group" "app" {
  name                 = "my-service"
  protocol             = "HTTP"
  port                 = 3000
  vpc_id               = aws_vpc.apps.id
  target_type          = "ip"
  deregistration_delay = 5
  health_check {
    path              = "/health"
    interval          = 5
    timeout           = 2
    healthy_threshold = 2
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.apps.arn
  port              = 80
  protocol          = "HTTP"
  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.app.arn
  }
}

# --- name ------------------------------------------------------------------------

resource "aws_service_discovery_private_dns_namespace" "apps" {
  name = "my-apps.local"
  vpc  = aws_vpc.apps.id
}

resource "aws_service_discovery_service" "app" {
  name = "my-service"
  dns_config {
    namespace_id   = aws_service_discovery_private_dns_namespace.apps.id
    routing_policy = "MULTIVALUE"
    dns_records {
      type = "A"
      ttl  = 10
    }
  }
  health_check_custom_config {
    failure_threshold = 1
  }
}

# --- roles and a secret ------------------------------------------------------------

# Tasks assume both roles, and nobody else does.
data "aws_iam_policy_document" "tasks" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ecs-tasks.amazonaws.com"]
    }
  }
}

# What fetches secrets and writes logs before the app runs.
resource "aws_iam_role" "execution" {
  name               = "my-app-execution"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = "arn:aws:iam::aws:policy/service-role/AmazonECSTaskExecutionRolePolicy"
}

data "aws_iam_policy_document" "execution" {
  statement {
    actions   = ["secretsmanager:GetSecretValue"]
    resources = [aws_secretsmanager_secret.password.arn]
  }
  statement {
    actions   = ["logs:CreateLogGroup"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "execution" {
  name   = "my-app"
  role   = aws_iam_role.execution.id
  policy = data.aws_iam_policy_document.execution.json
}

# What the app itself may do: nothing yet.
resource "aws_iam_role" "app" {
  name               = "my-app-task"
  assume_role_policy = data.aws_iam_policy_document.tasks.json
}

resource "aws_secretsmanager_secret" "password" {
  name                    = "my-app/db-password"
  recovery_window_in_days = 0 # gone at once, so that it can be made again
}

# The value is in no plan and no state: it goes from one call to the other.
ephemeral "aws_secretsmanager_random_password" "password" {}

resource "aws_secretsmanager_secret_version" "password" {
  secret_id                = aws_secretsmanager_secret.password.id
  secret_string_wo         = ephemeral.aws_secretsmanager_random_password.password.random_password
  secret_string_wo_version = 1
}

# --- service -----------------------------------------------------------------------

resource "aws_ecs_cluster" "apps" {
  name = "my-cluster"
}

resource "aws_ecs_task_definition" "app" {
  family                   = "my-app"
  network_mode             = "awsvpc"
  requires_compatibilities = ["FARGATE"]
  cpu                      = 256
  memory                   = 512
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.app.arn
  container_definitions = jsonencode([
    {
      name         = "app"
      image        = var.image
      essential    = true
      portMappings = [{ containerPort = 3000, protocol = "tcp" }]
      secrets      = [{ name = "DB_PASSWORD", valueFrom = aws_secretsmanager_secret.password.arn }]
      logConfiguration = {
        logDriver = "awslogs"
        options = {
          awslogs-group         = "/ecs/my-app"
          awslogs-region        = data.aws_region.here.name
          awslogs-stream-prefix = "ecs"
          awslogs-create-group  = "true"
        }
      }
    }
  ])
}

resource "aws_ecs_service" "app" {
  name            = "my-service"
  cluster         = aws_ecs_cluster.apps.id
  task_definition = aws_ecs_task_definition.app.arn
  desired_count   = var.tasks
  launch_type     = "FARGATE"

  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200
  wait_for_steady_state              = true

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  network_configuration {
    subnets          = aws_subnet.public[*].id
    security_groups  = [aws_security_group.tasks.id]
    assign_public_ip = true
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.app.arn
    container_name   = "app"
    container_port   = 3000
  }

  service_registries {
    registry_arn = aws_service_discovery_service.app.arn
  }

  # A task that starts before its role may read the secret, or before there is a
  # secret, fails.
  depends_on = [
    aws_lb_listener.http,
    aws_iam_role_policy.execution, aws_iam_role_policy_attachment.execution, aws_secretsmanager_secret_version.password,
  ]
}

output "service" {
  description = "What `berth open` takes with --cluster my-cluster."
  value       = aws_ecs_service.app.name
}

output "dns_name" {
  description = "Name of the load balancer; on Berth `berth open my-service` says at which address it is."
  value       = aws_lb.apps.dns_name
}
