// The smallest service of Nest, started by its own command line.
import '../../kit.js'
import 'reflect-metadata'
import { Controller, Get, Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'

@Controller()
class Greeting {
  @Get()
  hello(): string {
    return 'hello'
  }
}

@Module({ controllers: [Greeting] })
class App {}

NestFactory.create(App, { logger: false }).then((app) =>
  app.listen(Number(process.env.PORT), '127.0.0.1'),
)
